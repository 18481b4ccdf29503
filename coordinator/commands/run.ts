// `lockstep train` and `lockstep coordinator`: prepares a run, gathers the workers,
// trains, and writes the results.
import { randomBytes } from 'node:crypto';
import type { Config } from '../../src/config/schema.ts';
import { formatConfigYaml } from '../../src/config/config-text.ts';
import type { ArraySets } from '../../src/data/array/arrays.ts';
import type { LogFile, Logger } from '../../src/log.ts';
import type { Screen } from '../../src/screen.ts';
import path from 'node:path';
import { saveFinished, saveUnfinished } from '../persistence/final-save.ts';
import { closeAll } from '../../src/close-all.ts';
import type { Compute } from '../training/compute.ts';
import type { Listener } from '../cluster/listener.ts';
import type { CustomMetrics } from '../training/custom-metrics.ts';
import { checkpointBytes } from '../training/memory-plan.ts';
import { localComputeOf, openPort, startCompute } from '../start-compute.ts';
import type { RosterEvent } from '../cluster/roster-log.ts';
import type { StartOptions, Workforce } from '../start-compute.ts';
import { Dashboard } from '../dashboard/dashboard.ts';
import type { DashboardAddress } from '../dashboard/dashboard-server.ts';
import { adviceFor } from '../output/advice.ts';
import { RunStatus } from '../output/run-status.ts';
import { RunRecorder } from '../output/run-recorder.ts';
import { openRunDirectory } from '../output/run-directory.ts';
import type { RunDirectory } from '../output/run-directory.ts';
import type { SplitMetrics } from '../../src/metrics/definitions.ts';
import { measureImportance } from '../output/importance.ts';
import { classNamesOf, renderPlots, runPlots } from '../output/plots.ts';
import { writeReport } from '../output/report.ts';
import { readCurves } from '../output/run-curves.ts';
import type { Summary } from '../output/summary.ts';
import { largestTarget, measureBaseline } from '../training/baseline.ts';
import { initialState, prepareRun } from '../training/prepare.ts';
import type { PreparedRun } from '../training/prepare.ts';
import { openMirror } from '../object-storage/checkpoint-mirror.ts';
import { Mirror } from '../object-storage/mirror.ts';
import { copyHere, findResumeSource } from '../persistence/resume.ts';
import type { ResumeSource } from '../persistence/resume.ts';
import { startOrResume } from '../persistence/run-start.ts';
import type { RunStart } from '../persistence/run-start.ts';
import { stepsPerEpoch, train } from '../training/train.ts';
import type { StopRequest, TrainingObserver, TrainingResult } from '../training/train.ts';
import type { TrainingState } from '../training/training-state.ts';

/** The config and settings of a run. */
export interface RunOptions {
  readonly config: Config;
  /** Samples that the config names by their hashes. */
  readonly arrays?: ArraySets | undefined;
  readonly workforce: Workforce;
  /** False where workers of this machine, too, get and send all by their sockets. */
  readonly sharedMemory?: boolean | undefined;
  /** Default: a new directory under `runs/`. */
  readonly runDirectory: string | undefined;
  /** Checkpoint to resume from: `last`, `best`, `auto` or a path. */
  readonly resume?: string | undefined;
  /** Resume from an older checkpoint where the newest is damaged. */
  readonly allowOlder?: boolean | undefined;
  readonly screen: Screen;
  readonly log: Logger;
  readonly logFile: LogFile;
  readonly signal: AbortSignal;
  /** The address of a page that shows the run while it lasts. */
  readonly dashboard?: DashboardAddress | undefined;
  /** Observer of every step and epoch, besides the run's own records. */
  readonly observer?: TrainingObserver | undefined;
  /** Called before the first step, once the run computes; a promise is awaited. */
  readonly onStart?: ((run: StartedRun) => unknown) | undefined;
  /** Metrics that a program has brought along. */
  readonly customMetrics?: CustomMetrics | undefined;
  /** A request that the training end early, with a result. */
  readonly stop?: StopRequest | undefined;
}

/** A run that is about to take its first step. */
export interface StartedRun {
  /** Its directory. */
  readonly directory: string;
  /** The seed of the config. */
  readonly seed: number;
  /** Most epochs. */
  readonly epochs: number;
  /** Steps of an epoch. */
  readonly stepsPerEpoch: number;
  /** Steps that were taken before, by the run that resumes here; else 0. */
  readonly stepsDone: number;
  /** Parameters of the model. */
  readonly numParameters: number;
}

/** A finished run. */
export interface FinishedRun<Metrics = SplitMetrics> {
  /** Its figures, as in `summary.json`. */
  readonly summary: Summary<Metrics>;
  /** Its directory. */
  readonly directory: string;
  /** Names of the classes or labels that `perClass` of the metrics is about, in their order. */
  readonly classNames: readonly string[];
  /** Sentences about the next run, drawn from losses and metrics; the most useful first. */
  readonly advice: readonly string[];
}

/** Disk space for the records and plots of a run. */
const RECORD_BYTES = 16 * 2 ** 20;

/** Runs a training from start to end. @throws LockstepError, or the signal's reason. */
export async function runTraining(options: RunOptions): Promise<FinishedRun> {
  const startedMs = performance.now();
  const { log, workforce } = options;
  /** Closes everything that is open, the newest first. */
  const closers: (() => unknown)[] = [];
  let summary: Summary | undefined;
  let hasFailed = false;
  try {
    const status = workforce.kind === 'network' ? new RunStatus(options.config, workforce) : undefined;
    const listener = await openPort(workforce, { log, status });
    closers.unshift(() => listener?.close());
    const dashboard = options.dashboard && (await Dashboard.open(options.dashboard, log));
    closers.unshift(() => dashboard?.close());
    const run = await prepare(options);
    const directory = await openDirectory(run);
    closers.unshift(() => directory.close());
    const open = await openRun({ ...run, directory, listener, status, dashboard, startedMs });
    closers.unshift(() => open.mirror?.finish());
    closers.unshift(
      () => open.recorder.close(summary),
      () => options.logFile.close(),
    );
    const { resumed } = open.start;
    await open.recorder.openTrackers({ config: options.config, directory, resumed, status });
    const trained = await trainAndSave(open);
    summary = trained.summary;
    if (options.config.plots) await drawPlots(directory, run.prepared, trained.result, log);
    await report(directory, run.prepared, summary, log);
    await directory.writeSummary(summary);
    return finished(directory.path, summary, run.prepared, trained.result);
  } catch (error) {
    hasFailed = true;
    throw error;
  } finally {
    await closeAll(closers).catch((error: unknown) => logUnlessFirst(error, hasFailed, log));
  }
}

function finished(
  directory: string,
  summary: Summary,
  { config, data }: PreparedRun,
  { history, test }: TrainingResult,
): FinishedRun {
  const hasLabels = data.dataset.layout.targetKind === 'values' && data.targetNames.length > 1;
  const { epochs, earlyStopping } = config;
  const advice = adviceFor({
    epochs,
    history,
    watches: earlyStopping !== undefined,
    test: test?.metrics,
    baseline: summary.baseline,
    largestTarget: largestTarget({ config, data }),
  });
  return { summary, directory, classNames: hasLabels ? data.targetNames : data.classNames, advice };
}

/** The parts of a run before its directory is open. */
interface PreparedTraining {
  readonly options: RunOptions;
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
  /** The run or checkpoint to resume from; undefined for a run that begins. */
  readonly source: ResumeSource | undefined;
  /** The place in object storage for a copy of the run. */
  readonly mirrored: Awaited<ReturnType<typeof openMirror>>;
}

/** Loads the data, makes the initial weights, and finds what to resume from. */
async function prepare(options: RunOptions): Promise<PreparedTraining> {
  const { arrays, config, customMetrics, log, resume, signal, workforce } = options;
  const local = localComputeOf(workforce);
  const say = (message: string): void => log.info(message);
  const preparing = { arrays, local, customMetrics, say, signal };
  const prepared = await prepareRun(config, (message) => log.warn(message), preparing);
  const state = await initialState(prepared);
  const mirror = config.checkpoint ? config.checkpoint.mirror : undefined;
  const finding = { ...options, resume: resume ?? '', name: config.name, mirror, say };
  const source = resume === undefined ? undefined : await findResumeSource(finding);
  const mirrored = await openMirror(config, { isResuming: source !== undefined, say, signal });
  signal.throwIfAborted();
  return { options, prepared, state, source, mirrored };
}

function openDirectory({ options, prepared, source }: PreparedTraining): Promise<RunDirectory> {
  return openRunDirectory({
    name: options.config.name,
    directory: options.runDirectory ?? source?.directory,
    isResuming: source?.directory !== undefined && isSamePath(options.runDirectory, source.directory),
    bytesNeeded: bytesNeeded(prepared),
  });
}

/** Tells whether the user chose the directory, perhaps by a relative path, or left it open. */
function isSamePath(chosen: string | undefined, directory: string): boolean {
  return chosen === undefined || path.resolve(chosen) === directory;
}

/**
 * Disk space for records, the model and two checkpoints, if there are to be any: one stays
 * while the next is written.
 */
function bytesNeeded(prepared: PreparedRun): number {
  const model = 4 * prepared.model.numParameters;
  return RECORD_BYTES + model + (prepared.config.checkpoint ? 2 * checkpointBytes(prepared) : 0);
}

/** The parts that a run opens before it trains. */
interface OpenParts {
  readonly directory: RunDirectory;
  readonly listener: Listener | undefined;
  /** Told by the port, where workers come over the network. */
  readonly status: RunStatus | undefined;
  readonly dashboard: Dashboard | undefined;
  /** `performance.now()` of the run's start. */
  readonly startedMs: number;
}

/** A run that is ready to train. */
interface OpenRun extends PreparedTraining, OpenParts {
  readonly start: RunStart;
  readonly recorder: RunRecorder;
  readonly mirror: Mirror | undefined;
}

/** Restores the state that the run starts from, and opens its records. */
async function openRun(run: PreparedTraining & OpenParts): Promise<OpenRun> {
  const { directory, mirrored, options, prepared } = run;
  const { allowOlder, config, log, logFile, screen, signal } = options;
  await directory.removeLeftovers();
  const copying = { allowOlder, say: (message: string): void => log.info(message), signal };
  const source = await copyHere(run.source, directory.path, copying);
  const start = await startOrResume({ ...run, source, log, allowOlder });
  const { resumed } = start;
  directory.openRecords(() => logFile.open(directory.logPath));
  await directory.writeConfig(formatConfigYaml(config));
  log.info(`run directory ${directory.path}`);
  if (resumed) log.info(`resuming after step ${resumed.step}, from ${resumed.from}`);
  const { data, objects } = prepared;
  const records = { config, data, objects, directory, screen, log, resumed };
  const recorder = directory.openRecords(() => new RunRecorder(records));
  const numKept = config.checkpoint ? config.checkpoint.keep : 1;
  const mirror = mirrored && new Mirror({ ...mirrored, directory: directory.path, numKept }, log);
  start.onSaved = (saved) => {
    directory.becomeLatest((message) => log.warn(message));
    recorder.saved(saved);
    mirror?.noteSaved(saved.path);
  };
  start.onRolledBack = (point) => recorder.wentBack(point);
  run.dashboard?.show(directory.path, stepsPerEpoch(prepared));
  run.status?.show(directory.path, stepsPerEpoch(prepared));
  return { ...run, start, recorder, mirror };
}

/** Trains on the workers and saves the model; however that ends, the workers are sent away. */
async function trainAndSave(run: OpenRun): Promise<{ summary: Summary; result: TrainingResult }> {
  const { listener, options, prepared, recorder, start, state, status } = run;
  const { config, log, observer, onStart, sharedMemory, signal, stop, workforce } = options;
  const { checkpointer, rollback } = start;
  const ending = { ...run, checkpointer, log };
  const onEvent = (event: RosterEvent): void => {
    recorder.event(event);
    if (event.type !== 'workerBanned' || event.trustedSteps === undefined) return;
    rollback.distrust({ ...event, trustedSteps: event.trustedSteps });
  };
  let compute: Compute | undefined;
  let hasFailed = false;
  let canResume = false;
  try {
    const name = `${config.name}-${randomBytes(4).toString('hex')}`;
    const onCluster: StartOptions['onCluster'] = (...watched) => status?.watch(...watched);
    const cluster = { run: name, workforce, sharedMemory, listener, onCluster };
    compute = await startCompute({ ...cluster, prepared, state, log, signal, onEvent });
    const started = compute;
    run.dashboard?.watch(() => started.activity());
    await onStart?.({
      directory: run.directory.path,
      seed: config.seed,
      epochs: config.epochs,
      stepsPerEpoch: stepsPerEpoch(prepared),
      stepsDone: start.resumed?.step ?? 0,
      numParameters: prepared.model.numParameters,
    });
    const training = { ...prepared, state, compute, checkpointer, rollback, signal, stop };
    const result = await train({ ...training, observer: both(recorder, observer) }, start.progress);
    recorder.endProgress();
    const { stoppedBy: by, stoppedEarly: epoch, steps: step } = result;
    if (by !== undefined && epoch !== undefined) recorder.event({ type: 'trainingStopped', step, epoch, by });
    await saveFinished(ending);
    const { numThreads } = compute;
    const facts = { weightsSha256: state.weightsSha256(), wallSeconds: start.wallSeconds(), numThreads };
    return { summary: summarize(prepared, result, facts), result };
  } catch (error) {
    hasFailed = true;
    canResume = await saveUnfinished(ending, error);
    throw error;
  } finally {
    recorder.endProgress();
    const reason = hasFailed ? 'the run has ended early' : 'the run is finished';
    await compute?.close(reason, !canResume).catch((error: unknown) => logUnlessFirst(error, hasFailed, log));
  }
}

/** Throws an error of closing, unless the run has failed before: its own failure is the one to report. */
function logUnlessFirst(error: unknown, hasFailed: boolean, log: Logger): void {
  if (!hasFailed) throw error;
  log.error(`could not close what the run had open: ${(error as Error).message}`);
}

function both(first: TrainingObserver, second: TrainingObserver | undefined): TrainingObserver {
  if (!second) return first;
  return {
    onStep: async (record) => {
      await first.onStep(record);
      await second.onStep(record);
    },
    onEpoch: async (record) => {
      await first.onEpoch(record);
      await second.onEpoch(record);
    },
  };
}

/** Draws the plots; whatever fails is a warning. */
async function drawPlots(
  directory: RunDirectory,
  prepared: PreparedRun,
  result: TrainingResult,
  log: Logger,
): Promise<void> {
  const warn = (message: string): void => log.warn(message);
  try {
    const { metricsPath, modelPath, plotsPath } = directory;
    const { numParameters } = prepared.model;
    const importance = await measureImportance({ ...prepared, numParameters, modelPath });
    const plots = runPlots({ prepared, result, importance, curves: readCurves(metricsPath) });
    await renderPlots(plotsPath, plots, { warn });
  } catch (error) {
    warn(`plots: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Writes the report, which nobody needs as much as the rest: whatever fails is a warning. */
async function report(
  directory: RunDirectory,
  { config, data, model }: PreparedRun,
  summary: Summary,
  log: Logger,
): Promise<void> {
  try {
    const shown = { config: formatConfigYaml(config), classNames: classNamesOf(data) };
    await writeReport({ directory, summary, model, ...shown });
  } catch (error) {
    log.warn(`report.html: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function summarize(
  { config, data, kernelModule }: PreparedRun,
  result: TrainingResult,
  {
    weightsSha256,
    wallSeconds,
    numThreads,
  }: {
    readonly weightsSha256: string;
    readonly wallSeconds: number;
    readonly numThreads: number | undefined;
  },
): Summary {
  const { best, history, samplesSeen, steps, stoppedEarly, trainSeconds, workers } = result;
  return {
    name: config.name,
    seed: config.seed,
    numerics: config.numerics,
    kernelWidth: kernelModule.width,
    shards: config.shards,
    wire: config.wire,
    weightsSha256,
    epochs: history.length,
    ...(stoppedEarly === undefined ? {} : { stoppedEarly }),
    steps,
    samplesSeen,
    workers,
    ...(numThreads === undefined ? {} : { threads: numThreads }),
    wallSeconds,
    trainSeconds,
    samplesPerSecond: samplesSeen / trainSeconds,
    train: { loss: history.at(-1)?.trainLoss ?? Number.NaN },
    validation: result.validation?.metrics,
    test: result.test?.metrics,
    baseline: measureBaseline({ config, data }),
    best: { epoch: best.epoch, ...(best.validationLoss === undefined ? {} : { loss: best.validationLoss }) },
  };
}
