// `lockstep train` and `lockstep coordinator`: prepares a run, gathers the workers,
// trains, and writes the results.
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import type { Config } from '../../src/config/schema.ts';
import { formatConfigYaml } from '../../src/config/config-text.ts';
import type { ArraySets } from '../../src/data/array/arrays.ts';
import type { LoadedData } from '../../src/data/load.ts';
import { EXIT, LockstepError } from '../../src/errors.ts';
import type { RunLock } from '../../src/checkpoint/run-lock.ts';
import { DEFAULT_LEASE_S } from '../../src/limits.ts';
import { ANY_HOST, hostAndPort } from '../../src/protocol/connection.ts';
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
import { joinLink } from '../cluster/join-page.ts';
import { Dashboard } from '../dashboard/dashboard.ts';
import type { DashboardAddress } from '../dashboard/dashboard-server.ts';
import { adviceFor } from '../output/advice.ts';
import { RunStatus, type StandbyReport } from '../output/run-status.ts';
import { RunRecorder, type Takeover, type UnfinishedEnd } from '../output/run-recorder.ts';
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
import { runIdentity } from '../persistence/run-identity.ts';
import { startOrResume } from '../persistence/run-start.ts';
import { awaitTurn } from '../persistence/standby.ts';
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
  /** Follow the run in `runDirectory` while another process leads it, and take over from that one. */
  readonly standby?: boolean | undefined;
  /** Seconds without a sign of life after which another process may take over; default 5. */
  readonly lease?: number | undefined;
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

/** Says where the page of tabs that are workers is; on the screen alone, since a log is kept. */
function showJoinLink({ screen, workforce }: RunOptions, listener: Listener | undefined): void {
  if (workforce.kind !== 'network' || !workforce.browserWorkers || !listener) return;
  const { browserWorkers, publicUrl, tls, token, workerTokens } = workforce;
  const { host, port } = listener;
  const link = joinLink({ browserWorkers, host, port, publicUrl, tls, token, workerTokens }, screen.isTTY);
  screen.write(`a browser becomes a worker by opening ${link}\n`);
}

/** Runs a training from start to end. @throws LockstepError, or the signal's reason. */
export async function runTraining(given: RunOptions): Promise<FinishedRun> {
  const startedMs = performance.now();
  const { log, workforce } = given;
  /** Aborts when another process may have the run. */
  const lost = new AbortController();
  const options = { ...given, signal: AbortSignal.any([given.signal, lost.signal]) };
  /** Closes everything that is open, the newest first. */
  const closers: (() => unknown)[] = [];
  let end: Summary | UnfinishedEnd | undefined;
  try {
    const status = workforce.kind === 'network' ? new RunStatus(options.config, workforce) : undefined;
    const listener = await openPort(workforce, { log, status });
    closers.unshift(() => listener?.close());
    showJoinLink(options, listener);
    const dashboard = options.dashboard && (await Dashboard.open(options.dashboard, log));
    closers.unshift(() => dashboard?.close());
    const prepared = await prepare(options);
    const turn = await takeTurn(prepared, { listener, status });
    if ('summary' in turn) return finishedElsewhere(turn.summary, prepared);
    const run = { ...prepared, ...turn };
    const directory = await openDirectory(run);
    closers.unshift(() => directory.close());
    directory.whenLost((loss) => {
      options.logFile.close();
      lost.abort(loss);
    });
    const open = await openRun({ ...run, directory, listener, status, dashboard, startedMs });
    closers.unshift(() => (directory.loss ? open.mirror?.abandon() : open.mirror?.finish()));
    const noteStop = (): void =>
      open.recorder.event({ type: 'stopRequested', ...unfinishedEnd(given.signal.reason) });
    given.signal.addEventListener('abort', noteStop, { once: true });
    closers.unshift(
      () => given.signal.removeEventListener('abort', noteStop),
      () => (directory.loss ? open.recorder.abandon() : open.recorder.close(end as Summary | UnfinishedEnd)),
      () => options.logFile.close(),
    );
    const { resumed } = open.start;
    await open.recorder.openTrackers({ config: options.config, directory, resumed, status });
    const { result, summary } = await trainAndSave(open);
    directory.requireSurely();
    if (options.config.plots) await drawPlots(directory, run.prepared, result, log);
    await report(directory, run.prepared, summary, log);
    await directory.writeSummary(summary);
    end = summary;
    return finished(directory.path, summary, run.prepared, result);
  } catch (error) {
    const cause = (lost.signal.reason as Error | undefined) ?? error;
    end = unfinishedEnd(cause);
    throw cause;
  } finally {
    const hasFailed = end !== undefined && 'reason' in end;
    await closeAll(closers).catch((error: unknown) => logUnlessFirst(error, hasFailed, log));
  }
}

/** The end of a run as its records tell it: a signal's reason, too, has an exit code. */
function unfinishedEnd(error: unknown): UnfinishedEnd {
  const { exitCode = EXIT.bug, message } = error as Partial<LockstepError>;
  return { reason: error instanceof LockstepError ? error.code : String(message ?? error), exitCode };
}

/** A run that another process has finished while this one stood by. */
function finishedElsewhere(summary: Summary, { options, prepared }: PreparedTraining): FinishedRun {
  options.log.info('the run is finished');
  const directory = options.runDirectory as string;
  return { summary, directory, classNames: labelNames(prepared.data), advice: [] };
}

/** Names of the labels that metrics are about, or of the classes. */
function labelNames({ classNames, dataset, targetNames }: LoadedData): readonly string[] {
  const hasLabels = dataset.layout.targetKind === 'values' && targetNames.length > 1;
  return hasLabels ? targetNames : classNames;
}

function finished(
  directory: string,
  summary: Summary,
  { config, data }: PreparedRun,
  { history, test }: TrainingResult,
): FinishedRun {
  const { epochs, earlyStopping } = config;
  const advice = adviceFor({
    epochs,
    history,
    watches: earlyStopping !== undefined,
    test: test?.metrics,
    baseline: summary.baseline,
    largestTarget: largestTarget({ config, data }),
  });
  return { summary, directory, classNames: labelNames(data), advice };
}

/** The parts of a run before its directory is open. */
interface PreparedTraining {
  readonly options: RunOptions;
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
}

/** The beginning of a run: where it resumes, and in whose place. */
interface RunTurn {
  /** The run or checkpoint to resume from; undefined for a run that begins. */
  readonly source: ResumeSource | undefined;
  /** The lock of the directory and the leader before, where this process has stood by. */
  readonly lock?: RunLock | undefined;
  readonly takeover?: Takeover | undefined;
  /** The address at which workers are taken. */
  readonly address: string | undefined;
  /** The place in object storage for a copy of the run. */
  readonly mirrored: Awaited<ReturnType<typeof openMirror>>;
}

/** Loads the data and makes the initial weights. */
async function prepare(options: RunOptions): Promise<PreparedTraining> {
  const { arrays, config, customMetrics, log, signal, workforce } = options;
  const local = localComputeOf(workforce);
  const say = (message: string): void => log.info(message);
  const preparing = { arrays, local, customMetrics, say, signal };
  const prepared = await prepareRun(config, (message) => log.warn(message), preparing);
  const state = await initialState(prepared);
  signal.throwIfAborted();
  return { options, prepared, state };
}

/** Finds what to resume from, or the summary of a run that needs no more; a standby waits for its turn before. */
async function takeTurn(
  { options, prepared }: PreparedTraining,
  { listener, status }: Pick<OpenParts, 'listener' | 'status'>,
): Promise<RunTurn | { readonly summary: Summary }> {
  const { config, lease = DEFAULT_LEASE_S, log, resume, runDirectory, signal, standby, workforce } = options;
  const say = (message: string): void => log.info(message);
  const address = addressOf(workforce, listener);
  const findSource = async (wanted: string | undefined): Promise<Pick<RunTurn, 'source' | 'mirrored'>> => {
    const mirror = config.checkpoint ? config.checkpoint.mirror : undefined;
    const finding = { ...options, resume: wanted ?? '', name: config.name, mirror, say };
    const source = wanted === undefined ? undefined : await findResumeSource(finding);
    return { source, mirrored: await openMirror(config, { isResuming: source !== undefined, say, signal }) };
  };
  if (!standby || runDirectory === undefined) return { ...(await findSource(resume)), address };
  // What keeps it from the mirror it says now, not when the run is to go on.
  await openMirror(config, { isResuming: true, say, signal });
  const identity = runIdentity(prepared);
  const onFollowed = (report: StandbyReport): void => status?.standBy(report);
  const turn = await awaitTurn({
    directory: runDirectory,
    address,
    lease,
    identity,
    signal,
    log,
    onFollowed,
  });
  if ('summary' in turn) return turn;
  status?.standBy(undefined);
  try {
    return { ...turn, ...(await findSource('auto')), address };
  } catch (error) {
    turn.lock.release();
    throw error;
  }
}

/** The address at which workers are taken, for those who look for it elsewhere. */
function addressOf(workforce: Workforce, listener: Listener | undefined): string | undefined {
  if (workforce.kind !== 'network' || !listener) return undefined;
  const host = ANY_HOST.includes(listener.host) ? os.hostname() : listener.host;
  return workforce.publicUrl ?? hostAndPort(host, listener.port);
}

function openDirectory({
  address,
  lock,
  options,
  prepared,
  source,
}: PreparedTraining & RunTurn): Promise<RunDirectory> {
  return openRunDirectory({
    ...{ address, lock, lease: options.lease ?? DEFAULT_LEASE_S },
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
interface OpenRun extends PreparedTraining, RunTurn, OpenParts {
  readonly start: RunStart;
  readonly recorder: RunRecorder;
  readonly mirror: Mirror | undefined;
}

/** Restores the state that the run starts from, and opens its records. */
async function openRun(run: PreparedTraining & RunTurn & OpenParts): Promise<OpenRun> {
  const { directory, mirrored, options, prepared, takeover } = run;
  const { allowOlder, config, log, logFile, screen, signal } = options;
  await directory.removeLeftovers();
  const copying = { allowOlder, say: (message: string): void => log.info(message), signal };
  const source = await copyHere(run.source, directory.path, copying);
  const start = await startOrResume({ ...run, source, log, allowOlder });
  const { resumed } = start;
  directory.openRecords(() => logFile.open(directory.logPath, directory.requireHeld));
  await directory.writeConfig(formatConfigYaml(config));
  log.info(`run directory ${directory.path}`);
  if (takeover) log.warn(`taking over from ${takeover.leader}, which ${LEADER_ENDS[takeover.reason]}`);
  if (resumed) log.info(`resuming after step ${resumed.step}, from ${resumed.from}`);
  const { data, objects } = prepared;
  const records = { config, data, objects, directory, screen, log, resumed, takeover };
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

/** The ends of leaders, in words. */
const LEADER_ENDS: Readonly<Record<Takeover['reason'], string>> = {
  died: 'has died',
  silent: 'gives no sign of life',
  ended: 'has ended',
};

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
    // Another process goes on with the run, and with its workers.
    canResume = run.directory.loss !== undefined || (await saveUnfinished(ending, error));
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
