// `lockstep tune`: one short run after the other, each with other values of some keys of the config, to find
// those with the best validation. Trials that fall behind are stopped early, and what is finished stays
// when the search is resumed.
import fs from 'node:fs/promises';
import path from 'node:path';
import { loadConfig } from '../../src/config/load.ts';
import type { Config } from '../../src/config/schema.ts';
import { drawPoint, gridPoints, overridesOf } from '../../src/config/search-space.ts';
import type { Dimension, Point } from '../../src/config/search-space.ts';
import { makeDirectory } from '../../src/durable-write.ts';
import { LockstepError } from '../../src/errors.ts';
import { stringifyRecord } from '../../src/json.ts';
import { hostMath } from '../../src/kernels/host-math.ts';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { JsonlFile, readRecords } from '../../src/line-file.ts';
import { createLogger } from '../../src/log.ts';
import { Screen } from '../../src/screen.ts';
import { Memory } from '../../src/memory.ts';
import { isBetter } from '../../src/metrics/definitions.ts';
import type { Direction } from '../../src/metrics/definitions.ts';
import { wrapLines } from '../../src/screen.ts';
import { readRegularFile } from '../../src/regular-file.ts';
import { writeResultFile } from '../output/results.ts';
import { directoryName, makeFreshDirectory } from '../output/run-names.ts';
import { bestOf, describeTrial } from '../output/trials.ts';
import type { Trial, TuneResult } from '../output/trials.ts';
import { directionOf, monitoredValue } from '../training/early-stopping.ts';
import { refuseMirror } from '../object-storage/checkpoint-mirror.ts';
import { runTraining } from './run.ts';
import type { RunOptions } from './run.ts';

/** The values to search, and the way to do it. */
export interface Search {
  readonly dimensions: readonly Dimension[];
  readonly method: 'random' | 'grid';
  /** Trials of a random search. */
  readonly trials: number;
  readonly seed: number;
  /** False where every trial is to run to its end. */
  readonly stopsEarly: boolean;
}

/** The config of all trials, the search, and how they run. */
export interface TuneOptions extends Omit<RunOptions, 'config' | 'resume' | 'allowOlder' | 'observer'> {
  readonly path: string;
  readonly overrides: readonly string[];
  readonly search: Search;
  /** Continue the search of `runDirectory`. */
  readonly isResuming: boolean;
}

/** Trials with which others are compared, at least. */
const MIN_COMPARED = 4;
/** Share of the epochs in which no trial is stopped. */
const GRACE = 0.2;
const MAX_SEARCH_BYTES = 2 ** 20;
const SILENT = { write: () => true };

/** Reason of the end of a trial that fell behind. */
class FellBehind extends Error {}

/**
 * Runs the trials that are still to run.
 * @throws LockstepError if the config is wrong whatever the values, or no trial can be trained; or the
 * signal's reason
 */
export async function tune(options: TuneOptions): Promise<TuneResult> {
  const { overrides, path: file, search, screen } = options;
  const { config: first } = await loadConfig({ path: file, overrides });
  requireValidation(first);
  refuseMirror(first, 'tune');
  const points = await pointsOf(search);
  const directory = await openDirectory(options, first.name);
  const done = readTrials(directory);
  const trials = new JsonlFile(path.join(directory, 'trials.jsonl'));
  const watch = first.earlyStopping ?? { monitor: 'loss', minDelta: 0 };
  const direction = directionOf(watch);
  try {
    for (const [index, values] of points.entries()) {
      const number = index + 1;
      if (done.some(({ trial }) => trial === number)) continue;
      const trial = await runTrial(number, values, { ...options, directory, done, direction });
      trials.append(trial);
      done.push(trial);
      const line = describeTrial(trial, points.length, { metric: watch.monitor, direction, done });
      screen.write(`${wrapLines(line, screen.columns)}\n`);
    }
  } finally {
    trials.close();
  }
  done.sort((a, b) => a.trial - b.trial);
  const best = bestOf(done, direction);
  if (!best) throw hopeless(done);
  const result = {
    metric: watch.monitor,
    direction,
    bestTrial: best.trial,
    dimensions: search.dimensions,
    trials: done,
    directory,
  };
  await writeResultFile(path.join(directory, 'tune-results.json'), `${stringifyRecord(result, 2)}\n`);
  return result;
}

async function pointsOf({ dimensions, method, seed, trials }: Search): Promise<Point[]> {
  if (method === 'grid') return gridPoints(dimensions);
  const kernels = await instantiateKernels(await loadKernelModule(), new Memory().wasm);
  const math = hostMath(kernels);
  return Array.from({ length: trials }, (_, index) =>
    drawPoint(dimensions, { seed, trial: index + 1, math }),
  );
}

/** Makes the directory, or enters the one to resume in. @throws LockstepError if that is of another search */
async function openDirectory({ isResuming, overrides, runDirectory, search }: TuneOptions, name: string) {
  const { trials: _trials, ...same } = search;
  const text = `${stringifyRecord({ ...same, overrides }, 2)}\n`;
  const directory =
    runDirectory ??
    (await makeFreshDirectory(path.join('runs', directoryName(`${name}-tune`, new Date())), []));
  await makeDirectory(directory);
  const file = path.join(directory, 'tune.json');
  const earlier = await readRegularFile(file, MAX_SEARCH_BYTES).catch(() => undefined);
  if (isResuming && earlier?.toString() !== text) {
    const message = earlier
      ? `${directory} is a search of other values`
      : `${directory} is no search: it has no tune.json`;
    throw usage(
      'E_TUNE_RESUME',
      message,
      'resume with the flags that it was started with; only --trials may grow',
    );
  }
  if (!isResuming && earlier)
    throw usage(
      'E_RUN_EXISTS',
      `${directory} holds a search`,
      'resume it with --resume, or name another --run-dir',
    );
  if (!isResuming) await writeResultFile(file, text);
  return directory;
}

function readTrials(directory: string): Trial[] {
  const file = path.join(directory, 'trials.jsonl');
  try {
    return [...readRecords(file)] as unknown as Trial[];
  } catch {
    return [];
  }
}

/** Everything that one trial needs. */
interface TrialRun extends TuneOptions {
  readonly directory: string;
  readonly done: readonly Trial[];
  readonly direction: Direction;
}

async function runTrial(number: number, values: Point, run: TrialRun): Promise<Trial> {
  const startedMs = performance.now();
  const best: number[] = [];
  const over = (state: Trial['state'], error?: string): Trial => {
    const seconds = (performance.now() - startedMs) / 1000;
    return { trial: number, values, state, best, seconds, ...(error === undefined ? {} : { error }) };
  };
  const behind = new AbortController();
  const signal = AbortSignal.any([run.signal, behind.signal]);
  const runDirectory = path.join(run.directory, `trial-${String(number).padStart(3, '0')}`);
  // What a search left that was interrupted: the trial starts over.
  await fs.rm(runDirectory, { recursive: true, force: true });
  // Warnings about the data are those of the first trial.
  const log = createLogger({ level: number === 1 ? 'warn' : 'error', screen: run.screen, file: run.logFile });
  try {
    const config = await trialConfig(run, values);
    await runTraining({
      ...run,
      config,
      log,
      signal,
      runDirectory,
      screen: new Screen(SILENT),
      observer: {
        onStep: () => undefined,
        onEpoch: ({ validation }) => {
          if (!validation) return;
          const value = monitoredValue(validation, config.earlyStopping);
          const last = best.at(-1);
          best.push(last === undefined || isBetter(run.direction, value, last) ? value : last);
          if (run.search.stopsEarly && isBehind(best, config.epochs, run)) behind.abort(new FellBehind());
        },
      },
    });
    return over('finished');
  } catch (error) {
    if (run.signal.aborted) throw error;
    if (error instanceof FellBehind) return over('stopped');
    if (error instanceof LockstepError) return over('failed', error.message);
    throw error;
  }
}

/** The config of a trial: without plots and checkpoints, which nobody looks at. */
async function trialConfig({ overrides, path: file }: TuneOptions, values: Point): Promise<Config> {
  const own = ['plots=false', 'checkpoint=false', ...overrides, ...overridesOf(values)];
  return (await loadConfig({ path: file, overrides: own })).config;
}

/**
 * The median rule (Golovin et al., "Google Vizier", KDD 2017): a trial is behind if the best of its epochs
 * is worse than the median of what others had by that epoch.
 */
export function isBehind(
  best: readonly number[],
  epochs: number,
  { done, direction }: Pick<TrialRun, 'done' | 'direction'>,
): boolean {
  const epoch = best.length;
  const others = done.flatMap(({ best: values }) => values[epoch - 1] ?? []).filter(Number.isFinite);
  if (epoch < GRACE * epochs || epoch === epochs || others.length < MIN_COMPARED) return false;
  const sorted = others.toSorted((a, b) => a - b);
  const middle = sorted.slice(Math.floor((sorted.length - 1) / 2), Math.floor(sorted.length / 2) + 1);
  const median = middle.reduce((sum, value) => sum + value, 0) / middle.length;
  return isBetter(direction, median, best.at(-1));
}

function requireValidation({ data, name }: Config): void {
  if (data.validation !== undefined || data.split.validation > 0) return;
  throw usage(
    'E_TUNE_VALIDATION',
    `${name} has no validation split, by which trials are compared`,
    'set data.split.validation',
  );
}

function hopeless(trials: readonly Trial[]): LockstepError {
  const reason = trials.find(({ error }) => error !== undefined)?.error ?? 'none has a value';
  return new LockstepError({
    category: 'failure',
    code: 'E_TUNE_FAILED',
    message: `no trial of ${trials.length} could be trained: ${reason}`,
    help: 'try the config with lockstep train, and values that it takes',
  });
}

function usage(code: `E_${string}`, message: string, help: string): LockstepError {
  return new LockstepError({ category: 'usage', code, message, help });
}
