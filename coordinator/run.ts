// A whole training run: prepares it, gathers the workers, trains, and writes what is to be kept.
import { randomBytes } from 'node:crypto';
import type { Config } from '../src/config/schema.ts';
import { formatConfigYaml } from '../src/config/format.ts';
import type { ArraySets } from '../src/data/arrays.ts';
import type { Logger, LogFile, Screen } from '../src/log.ts';
import type { Compute } from './compute.ts';
import { startCompute } from './start-compute.ts';
import type { Workforce } from './start-compute.ts';
import { RunRecorder } from './output/run-recorder.ts';
import { openRunDirectory } from './output/run-directory.ts';
import { renderPlots } from './output/plots.ts';
import { runPlots } from './output/run-plots.ts';
import type { Summary } from './output/summary.ts';
import { initialState, prepareRun } from './prepare.ts';
import type { PreparedRun } from './prepare.ts';
import { saveModel } from './save-model.ts';
import { train } from './train.ts';
import type { TrainingObserver, TrainingResult } from './train.ts';
import type { TrainingState } from './training-state.ts';

/** What a run is told besides its config. */
export interface RunOptions {
  readonly config: Config;
  /** Samples that the config names by their hashes. */
  readonly arrays?: ArraySets | undefined;
  readonly workforce: Workforce;
  /** Default: a new directory under `runs/`. */
  readonly runDirectory: string | undefined;
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

/** Room that records and plots of a run take, besides the model. */
const RECORD_BYTES = 16 * 2 ** 20;

/** Runs a training from start to end. @throws LockstepError, or the signal's reason. */
export async function runTraining(options: RunOptions): Promise<FinishedRun> {
  const { config, log, logFile, screen, signal, workforce } = options;
  const startedMs = performance.now();
  const prepared = await prepareRun(config, (message) => log.warn(message), { arrays: options.arrays });
  const state = await initialState(prepared);
  const directory = await openRunDirectory({
    name: config.name,
    directory: options.runDirectory,
    bytesNeeded: RECORD_BYTES + 4 * prepared.model.numParameters,
  });
  logFile.open(directory.logPath);
  await directory.writeConfig(formatConfigYaml(config));
  log.info(`run directory ${directory.path}`);
  const recorder = new RunRecorder({ config, data: prepared.data, directory, screen, log });
  let compute: Compute | undefined;
  let summary: Summary | undefined;
  try {
    const run = `${config.name}-${randomBytes(4).toString('hex')}`;
    compute = await startCompute({ run, prepared, state, workforce, log, signal, onEvent: recorder.event });
    const result = await train({
      ...prepared,
      state,
      compute,
      observer: both(recorder, options.observer),
      signal,
    });
    recorder.endProgress();
    await saveModel(directory.modelPath, { ...prepared, state });
    summary = summarize(config, result, state.weightsSha256(), (performance.now() - startedMs) / 1000);
    await compute.close('the run is finished');
    await renderPlots(directory.plotsPath, runPlots(config, prepared.data, result), {
      warn: (m) => log.warn(m),
    });
    await directory.writeSummary(summary);
    return { summary, directory: directory.path };
  } catch (error) {
    if (!summary) await keepBestWeights(directory.modelPath, prepared, state, log);
    throw error;
  } finally {
    recorder.endProgress();
    await compute?.close(summary ? 'the run is finished' : 'the run has ended early');
    await recorder.close(summary);
    logFile.close();
  }
}

function both(first: TrainingObserver, second: TrainingObserver | undefined): TrainingObserver {
  if (!second) return first;
  return {
    onStep: (record) => {
      first.onStep(record);
      second.onStep(record);
    },
    onEpoch: (record) => {
      first.onEpoch(record);
      second.onEpoch(record);
    },
  };
}

/** What a run that ends early leaves behind: the best weights of its finished epochs, if there are any. */
async function keepBestWeights(
  path: string,
  prepared: PreparedRun,
  state: TrainingState,
  log: Logger,
): Promise<void> {
  if (!state.hasBest) return;
  state.restoreBest();
  await saveModel(path, { ...prepared, state });
  log.info(`the best weights so far are in ${path}`);
}

function summarize(
  config: Config,
  result: TrainingResult,
  weightsSha256: string,
  wallSeconds: number,
): Summary {
  const { best, epochs, samplesSeen, steps, stoppedEarly, trainSeconds, workers } = result;
  const last = epochs[epochs.length - 1];
  return {
    name: config.name,
    seed: config.seed,
    numerics: config.numerics,
    weightsSha256,
    epochs: epochs.length,
    ...(stoppedEarly === undefined ? {} : { stoppedEarly }),
    steps,
    samplesSeen,
    workers,
    wallSeconds,
    trainSeconds,
    samplesPerSecond: samplesSeen / trainSeconds,
    train: { loss: last?.trainLoss ?? Number.NaN },
    validation: result.validation?.metrics,
    test: result.test?.metrics,
    best: { epoch: best.epoch, ...(best.validation ? { loss: best.validation.loss } : {}) },
  };
}
