// `lockstep train` and `lockstep coordinator`: prepares a run, gathers the workers, trains, and writes the results.
import { randomBytes } from 'node:crypto';
import type { Config } from '../../src/config/schema.ts';
import { formatConfigYaml } from '../../src/config/config-text.ts';
import type { ArraySets } from '../../src/data/array/arrays.ts';
import type { LogFile, Logger, Screen } from '../../src/log.ts';
import path from 'node:path';
import { LockstepError } from '../../src/errors.ts';
import { shellWord } from '../../src/printable.ts';
import { type Checkpointer } from '../persistence/checkpointer.ts';
import { closeAll } from '../../src/close-all.ts';
import type { Compute } from '../training/compute.ts';
import type { Listener } from '../cluster/listener.ts';
import { checkpointBytes } from '../training/memory-plan.ts';
import { localComputeOf, openPort, startCompute } from '../start-compute.ts';
import type { RosterEvent, Workforce } from '../start-compute.ts';
import { RunRecorder } from '../output/run-recorder.ts';
import { openRunDirectory } from '../output/run-directory.ts';
import type { RunDirectory } from '../output/run-directory.ts';
import { renderPlots, runPlots } from '../output/plots.ts';
import type { Summary } from '../output/summary.ts';
import { initialState, prepareRun } from '../training/prepare.ts';
import type { PreparedRun } from '../training/prepare.ts';
import { findResumeSource } from '../persistence/resume.ts';
import type { ResumeSource } from '../persistence/resume.ts';
import { openSaving, saveModel } from '../persistence/run-saving.ts';
import type { RunSaving } from '../persistence/run-saving.ts';
import { train } from '../training/train.ts';
import type { TrainingObserver, TrainingResult } from '../training/train.ts';
import type { TrainingState } from '../training/training-state.ts';

/** The config and settings of a run. */
export interface RunOptions {
  readonly config: Config;
  /** Samples that the config names by their hashes. */
  readonly arrays?: ArraySets | undefined;
  readonly workforce: Workforce;
  /** Default: a new directory under `runs/`. */
  readonly runDirectory: string | undefined;
  /** Checkpoint to resume from: `last`, `best` or a path. */
  readonly resume?: string | undefined;
  /** Resume from an older checkpoint where the newest is damaged. */
  readonly allowOlder?: boolean | undefined;
  readonly screen: Screen;
  readonly log: Logger;
  readonly logFile: LogFile;
  readonly signal: AbortSignal;
  /** Observer of every step and epoch, besides the run's own records. */
  readonly observer?: TrainingObserver | undefined;
}

/** A finished run. */
export interface FinishedRun {
  readonly summary: Summary;
  /** Its directory. */
  readonly directory: string;
}

/** Disk space for the records and plots of a run. */
const RECORD_BYTES = 16 * 2 ** 20;

/** Runs a training from start to end. @throws LockstepError, or the signal's reason. */
export async function runTraining(options: RunOptions): Promise<FinishedRun> {
  const startedMs = performance.now();
  const listener = await openPort(options.workforce, options.log);
  try {
    return await runOn(listener, options, startedMs);
  } finally {
    await listener?.close();
  }
}

async function runOn(
  listener: Listener | undefined,
  options: RunOptions,
  startedMs: number,
): Promise<FinishedRun> {
  const { arrays, config, log, resume, signal, workforce } = options;
  const prepared = await prepareRun(config, (message) => log.warn(message), {
    arrays,
    local: localComputeOf(workforce),
  });
  const state = await initialState(prepared);
  const source =
    resume === undefined ? undefined : await findResumeSource({ ...options, resume, name: config.name });
  signal.throwIfAborted();
  const directory = await openRunDirectory({
    name: config.name,
    directory: options.runDirectory ?? source?.directory,
    isResuming: source?.directory !== undefined && isSamePath(options.runDirectory, source.directory),
    bytesNeeded: bytesNeeded(prepared),
  });
  try {
    return await runIn(directory, { options, listener, prepared, state, source, startedMs });
  } finally {
    await directory.close();
  }
}

/** Tells whether the user chose the directory, perhaps by a relative path, or left it open. */
function isSamePath(chosen: string | undefined, directory: string): boolean {
  return chosen === undefined || path.resolve(chosen) === directory;
}

/** Disk space for records, the model and two checkpoints, if there are to be any: one stays while the next is written. */
function bytesNeeded(prepared: PreparedRun): number {
  const model = 4 * prepared.model.numParameters;
  return RECORD_BYTES + model + (prepared.config.checkpoint ? 2 * checkpointBytes(prepared) : 0);
}

/** The parts of a run before its directory is open. */
interface RunStart {
  readonly options: RunOptions;
  readonly listener: Listener | undefined;
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
  readonly source: ResumeSource | undefined;
  readonly startedMs: number;
}

/** The parts of a run that trains. */
interface OpenRun extends RunStart {
  readonly directory: RunDirectory;
  readonly saving: RunSaving;
  readonly recorder: RunRecorder;
}

async function runIn(directory: RunDirectory, start: RunStart): Promise<FinishedRun> {
  const { options, prepared } = start;
  const { config, log, logFile } = options;
  const run = await openRun(directory, start);
  let summary: Summary | undefined;
  let hasFailed = false;
  try {
    const trained = await trainAndSave(run);
    summary = trained.summary;
    if (config.plots) await drawPlots(directory, prepared, trained.result, log);
    await directory.writeSummary(summary);
    return { summary, directory: directory.path };
  } catch (error) {
    hasFailed = true;
    throw error;
  } finally {
    const close = closeAll([() => run.recorder.close(summary), () => logFile.close()]);
    await close.catch((error: unknown) => logUnlessFirst(error, hasFailed, log));
  }
}

/** Restores the state that the run starts from, and opens its records. */
async function openRun(directory: RunDirectory, start: RunStart): Promise<OpenRun> {
  const { options, prepared } = start;
  const { config, log, logFile, screen } = options;
  await directory.removeLeftovers();
  const saving = await openSaving({ ...start, directory, log, allowOlder: options.allowOlder });
  const { resumed } = saving;
  directory.openRecords(() => logFile.open(directory.logPath));
  await directory.writeConfig(formatConfigYaml(config));
  log.info(`run directory ${directory.path}`);
  if (resumed) log.info(`resuming after step ${resumed.step}, from ${resumed.from}`);
  const records = { config, data: prepared.data, directory, screen, log, resumed };
  const recorder = directory.openRecords(() => new RunRecorder(records));
  saving.onSaved = (saved) => {
    directory.becomeLatest((message) => log.warn(message));
    recorder.saved(saved);
  };
  saving.onRolledBack = (point) => recorder.wentBack(point);
  return { ...start, directory, saving, recorder };
}

/** Trains on the workers and saves the model; however that ends, the workers are sent away. */
async function trainAndSave(run: OpenRun): Promise<{ summary: Summary; result: TrainingResult }> {
  const { directory, listener, options, prepared, recorder, saving, state } = run;
  const { config, log, observer, signal, workforce } = options;
  const { checkpointer, rollback } = saving;
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
    compute = await startCompute({ run: name, prepared, state, workforce, listener, log, signal, onEvent });
    const training = { ...prepared, state, compute, checkpointer, rollback, signal };
    const result = await train({ ...training, observer: both(recorder, observer) }, saving.progress);
    recorder.endProgress();
    await saveLast(checkpointer, () => saveModel(directory.modelPath, { ...prepared, state }));
    directory.becomeLatest((message) => log.warn(message));
    return { summary: summarize(config, result, state.weightsSha256(), saving.wallSeconds()), result };
  } catch (error) {
    hasFailed = true;
    canResume = await salvage(error, { checkpointer, directory, prepared, state, log });
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

function drawPlots(
  { plotsPath }: RunDirectory,
  { config, data }: PreparedRun,
  result: TrainingResult,
  log: Logger,
): Promise<void> {
  return renderPlots(plotsPath, runPlots(config, data, result), { warn: (message) => log.warn(message) });
}

interface Unfinished {
  readonly checkpointer: Checkpointer | undefined;
  readonly directory: RunDirectory;
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
  readonly log: Logger;
}

/**
 * Saves the model, even if the last checkpoint cannot be saved; and after it, since a checkpoint in flight takes the space
 * that the model needs. @throws LockstepError (exit 4) if one of them could not be saved
 */
async function saveLast(checkpointer: Checkpointer | undefined, save: () => Promise<void>): Promise<void> {
  const [checkpoint] = await Promise.allSettled([checkpointer?.finish()]);
  await save();
  if (checkpoint.status === 'rejected') throw checkpoint.reason;
}

/**
 * Saves what a run that ends early has reached: its progress, and the best weights of its finished epochs. Resolves to
 * whether the run can resume later.
 */
async function salvage(
  reason: unknown,
  { checkpointer, directory, prepared, state, log }: Unfinished,
): Promise<boolean> {
  const isSaved = async (save: () => Promise<void>): Promise<boolean> => {
    try {
      await save();
      return true;
    } catch (error) {
      // What ended the run is what the user must hear about; this comes on top, unless it is the same.
      const { message } = error as Error;
      const isNew = message !== (reason as Error | undefined)?.message;
      if (isNew) log.error(`could not save what the run had reached: ${message}`);
      return false;
    }
  };
  // Nobody wants to resume from weights that diverge.
  const canResume = checkpointer && !(reason instanceof LockstepError && reason.category === 'diverged');
  if (
    canResume &&
    (await isSaved(() => checkpointer.finish())) &&
    (await checkpointer.hasSaved().catch(() => false))
  ) {
    log.info(`to resume, give the same command with --resume last --run-dir ${shellWord(directory.path)}`);
  }
  if (state.hasBest) {
    state.setCurrent('best');
    const isKept = await isSaved(() => saveModel(directory.modelPath, { ...prepared, state }));
    if (isKept) {
      directory.becomeLatest((message) => log.warn(message));
      log.info(`the best weights so far are in ${directory.modelPath}`);
    }
  }
  return canResume ?? false;
}

function summarize(
  config: Config,
  result: TrainingResult,
  weightsSha256: string,
  wallSeconds: number,
): Summary {
  const { best, history, samplesSeen, steps, stoppedEarly, trainSeconds, workers } = result;
  return {
    name: config.name,
    seed: config.seed,
    numerics: config.numerics,
    shards: config.shards,
    weightsSha256,
    epochs: history.length,
    ...(stoppedEarly === undefined ? {} : { stoppedEarly }),
    steps,
    samplesSeen,
    workers,
    wallSeconds,
    trainSeconds,
    samplesPerSecond: samplesSeen / trainSeconds,
    train: { loss: history.at(-1)?.trainLoss ?? Number.NaN },
    validation: result.validation?.metrics,
    test: result.test?.metrics,
    best: { epoch: best.epoch, ...(best.validationLoss === undefined ? {} : { loss: best.validationLoss }) },
  };
}
