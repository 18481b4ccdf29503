// A whole training run: prepares it, gathers the workers, trains, and writes what is to be kept.
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
import { renderPlots } from '../output/plots.ts';
import { runPlots } from '../output/run-plots.ts';
import type { Summary } from '../output/summary.ts';
import { initialState, prepareRun } from '../training/prepare.ts';
import type { PreparedRun } from '../training/prepare.ts';
import { findResumeSource } from '../persistence/resume.ts';
import type { ResumeSource } from '../persistence/resume.ts';
import { openSaving } from '../persistence/run-saving.ts';
import { saveModel } from '../persistence/save-model.ts';
import { train } from '../training/train.ts';
import type { TrainingObserver, TrainingResult } from '../training/train.ts';
import type { TrainingState } from '../training/training-state.ts';

/** What a run is told besides its config. */
export interface RunOptions {
  readonly config: Config;
  /** Samples that the config names by their hashes. */
  readonly arrays?: ArraySets | undefined;
  readonly workforce: Workforce;
  /** Default: a new directory under `runs/`. */
  readonly runDirectory: string | undefined;
  /** Go on from a checkpoint: `last`, `best` or a path. */
  readonly resume?: string | undefined;
  /** Go on from an older checkpoint where the newest is damaged. */
  readonly allowOlder?: boolean | undefined;
  readonly screen: Screen;
  readonly log: Logger;
  readonly logFile: LogFile;
  readonly signal: AbortSignal;
  /** Told of every step and epoch, besides the run's own records. */
  readonly observer?: TrainingObserver | undefined;
}

/** A finished run. */
export interface FinishedRun {
  readonly summary: Summary;
  /** Its directory. */
  readonly directory: string;
}

/** Room that records and plots of a run take. */
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

/** `chosen` may be relative, or left open. */
function isSamePath(chosen: string | undefined, directory: string): boolean {
  return chosen === undefined || path.resolve(chosen) === directory;
}

/** Records, the model and, if there are to be any, two checkpoints: one stays while the next is written. */
function bytesNeeded(prepared: PreparedRun): number {
  const model = 4 * prepared.model.numParameters;
  return RECORD_BYTES + model + (prepared.config.checkpoint ? 2 * checkpointBytes(prepared) : 0);
}

/** What a run in its directory starts from. */
interface RunStart {
  readonly options: RunOptions;
  readonly listener: Listener | undefined;
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
  readonly source: ResumeSource | undefined;
  readonly startedMs: number;
}

async function runIn(directory: RunDirectory, start: RunStart): Promise<FinishedRun> {
  const { options, listener, prepared, state } = start;
  await directory.removeLeftovers();
  const { config, log, logFile, screen, signal, workforce } = options;
  const { progress, resumed, keeper, rollback, wallSeconds } = await openSaving({
    ...start,
    directory,
    log,
    allowOlder: options.allowOlder,
    onSaved: (saved) => {
      directory.becomeLatest((message) => log.warn(message));
      recorder.saved(saved);
    },
    onRolledBack: (point) => recorder.wentBack(point),
  });
  directory.openRecords(() => logFile.open(directory.logPath));
  await directory.writeConfig(formatConfigYaml(config));
  log.info(`run directory ${directory.path}`);
  if (resumed) log.info(`going on after step ${resumed.step}, from ${resumed.from}`);
  const records = { config, data: prepared.data, directory, screen, log, resumed };
  const recorder = directory.openRecords(() => new RunRecorder(records));
  let compute: Compute | undefined;
  let summary: Summary | undefined;
  let hasFailed = false;
  let canGoOn = false;
  try {
    const run = `${config.name}-${randomBytes(4).toString('hex')}`;
    const onEvent = (event: RosterEvent): void => {
      recorder.event(event);
      if (event.type !== 'workerBanned' || event.trustedSteps === undefined) return;
      rollback.distrust({ ...event, trustedSteps: event.trustedSteps });
    };
    compute = await startCompute({ run, prepared, state, workforce, listener, log, signal, onEvent });
    const observer = both(recorder, options.observer);
    const result = await train({ ...prepared, state, compute, observer, keeper, rollback, signal }, progress);
    recorder.endProgress();
    await saveLast(keeper, () => saveModel(directory.modelPath, { ...prepared, state }));
    directory.becomeLatest((message) => log.warn(message));
    summary = summarize(config, result, state.weightsSha256(), wallSeconds());
    await compute.close('the run is finished', true);
    if (config.plots) await drawPlots(directory, prepared, result, log);
    await directory.writeSummary(summary);
    return { summary, directory: directory.path };
  } catch (error) {
    hasFailed = true;
    if (!summary) canGoOn = await salvage(error, { keeper, directory, prepared, state, log });
    throw error;
  } finally {
    await closeAll([
      () => recorder.endProgress(),
      () => compute?.close(summary ? 'the run is finished' : 'the run has ended early', !canGoOn),
      () => recorder.close(summary),
      () => logFile.close(),
    ]).catch((error: unknown) => {
      // What ended the run is what the user must hear about.
      if (!hasFailed) throw error;
      log.error(`could not close what the run had open: ${(error as Error).message}`);
    });
  }
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
  readonly keeper: Checkpointer | undefined;
  readonly directory: RunDirectory;
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
  readonly log: Logger;
}

/**
 * Saves the model, even where the last checkpoint is not saved; and after it, for a checkpoint on its way takes the
 * room that the model needs. @throws LockstepError (exit 4) if one of them could not be saved
 */
async function saveLast(keeper: Checkpointer | undefined, save: () => Promise<void>): Promise<void> {
  const [checkpoint] = await Promise.allSettled([keeper?.finish()]);
  await save();
  if (checkpoint.status === 'rejected') throw checkpoint.reason;
}

/**
 * What a run that ends early leaves behind: where it stood, and the best weights of its finished epochs. Resolves to
 * whether the run may go on later.
 */
async function salvage(
  reason: unknown,
  { keeper, directory, prepared, state, log }: Unfinished,
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
  // Weights on their way to infinity are not what anybody wants to go on from.
  const canGoOn = keeper && !(reason instanceof LockstepError && reason.category === 'diverged');
  if (canGoOn && (await isSaved(() => keeper.finish())) && (await keeper.hasSaved().catch(() => false))) {
    log.info(`to go on, give the same command with --resume last --run-dir ${shellWord(directory.path)}`);
  }
  if (state.hasBest) {
    state.show('best');
    const isKept = await isSaved(() => saveModel(directory.modelPath, { ...prepared, state }));
    if (isKept) {
      directory.becomeLatest((message) => log.warn(message));
      log.info(`the best weights so far are in ${directory.modelPath}`);
    }
  }
  return canGoOn ?? false;
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
