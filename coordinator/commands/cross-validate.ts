// `lockstep train --folds`: one run for each part of the data as the test split, and what they have in common.
import fs from 'node:fs/promises';
import path from 'node:path';
import { formatConfigYaml } from '../../src/config/config-text.ts';
import type { Config } from '../../src/config/schema.ts';
import { checkConfig } from '../../src/config/validate.ts';
import { LockstepError } from '../../src/errors.ts';
import { stringifyRecord } from '../../src/json.ts';
import { scalarMetrics } from '../../src/metrics/definitions.ts';
import { readRegularFile } from '../../src/regular-file.ts';
import { writeResultFile } from '../output/results.ts';
import { refuseOccupied, RunDirectory } from '../output/run-directory.ts';
import { directoryName, linkLatest, makeFreshDirectory } from '../output/run-names.ts';
import { formatMetricsTable } from '../output/summary.ts';
import type { Summary } from '../output/summary.ts';
import { listGenerations } from '../../src/checkpoint/find-checkpoint.ts';
import { refuseMirror } from '../object-storage/checkpoint-mirror.ts';
import { runTraining } from './run.ts';
import type { RunOptions } from './run.ts';

/** The content of `folds.json`. */
export interface CrossValidation {
  readonly name: string;
  readonly folds: number;
  /** The metrics of the test splits, by their names. */
  readonly test: Readonly<Record<string, FoldMetric>>;
  readonly runs: readonly FoldRun[];
}

/** A metric of the test splits. */
interface FoldMetric {
  readonly mean: number;
  /** Standard deviation over the folds, with n - 1. */
  readonly deviation: number;
  /** One of each fold, in order. */
  readonly values: readonly number[];
}

interface FoldRun {
  readonly fold: number;
  readonly directory: string;
  readonly weightsSha256: string;
  /** The epoch whose weights were tested. */
  readonly bestEpoch: number;
}

/** Largest summary that is read. */
const MAX_SUMMARY_BYTES = 64 * 2 ** 20;

/**
 * Trains once for each fold, in folders of one directory. With `resume`, folds that are finished are
 * kept, and the others resume from their last checkpoints.
 * @throws LockstepError, or the signal's reason
 */
export async function crossValidate(
  options: RunOptions,
  numFolds: number,
): Promise<{ readonly result: CrossValidation; readonly directory: string }> {
  const { config, log, resume, screen } = options;
  refuseMirror(config, '--folds');
  const parent = await openParent(options);
  const runs: FoldRun[] = [];
  const summaries: Summary[] = [];
  for (let fold = 1; fold <= numFolds; fold++) {
    const directory = path.join(parent, `fold-${fold}`);
    const own = foldConfig(config, fold, numFolds);
    const isFinished = resume !== undefined && (await isFinishedFold(directory, own));
    screen.write(`fold ${fold}/${numFolds}${isFinished ? ': finished before' : ''}\n`);
    if (!isFinished) {
      const resumed = resume === undefined ? undefined : 'auto';
      await runTraining({ ...options, config: own, runDirectory: directory, resume: resumed });
    }
    const summary = await readSummary(directory);
    summaries.push(summary);
    runs.push({
      fold,
      directory,
      weightsSha256: summary.weightsSha256,
      bestEpoch: summary.best.epoch,
    });
  }
  const result = { name: config.name, folds: numFolds, test: compare(summaries), runs };
  await writeResultFile(path.join(parent, 'folds.json'), `${stringifyRecord(result, 2)}\n`);
  if (options.runDirectory === undefined) {
    linkLatest(path.dirname(parent), path.basename(parent), (message) => log.warn(message));
  }
  return { result, directory: parent };
}

/** Mean, deviation, lowest and highest of each metric, ending in a newline. */
export function formatFolds({ name, folds, test }: CrossValidation): string {
  const column = (valueOf: (metric: FoldMetric) => number): Record<string, number> =>
    Object.fromEntries(Object.entries(test).map(([metric, values]) => [metric, valueOf(values)]));
  const table = formatMetricsTable([
    ['mean', column(({ mean }) => mean)],
    ['deviation', column(({ deviation }) => deviation)],
    ['lowest', column(({ values }) => Math.min(...values))],
    ['highest', column(({ values }) => Math.max(...values))],
  ]);
  return `${name}: test splits of ${folds} folds\n${table}\n`;
}

/** The config of one fold's run, checked as one that a user wrote; the folds decide about test and training. */
export function foldConfig(config: Config, number: number, of: number): Config {
  const { train: _train, test: _test, ...others } = config.data.split;
  const split = { ...others, fold: { number, of } };
  return checkConfig({ ...config, data: { ...config.data, split } });
}

/** The directory of all folds: made for them, or that of the runs to resume. */
async function openParent({ config, resume, runDirectory }: RunOptions): Promise<string> {
  if (resume === undefined) {
    if (runDirectory !== undefined) await refuseOccupied(new RunDirectory(runDirectory));
    return runDirectory ?? makeFreshDirectory(path.join('runs', directoryName(config.name, new Date())), []);
  }
  if ((resume === 'last' || resume === 'auto') && runDirectory !== undefined) return runDirectory;
  throw new LockstepError({
    category: 'usage',
    code: 'E_FOLDS_RESUME',
    message: 'folds resume all from their last checkpoints, in one directory',
    help: 'name it: --run-dir DIR --resume last',
  });
}

/** Tells whether a fold needs no more training. @throws LockstepError if its run is one of another config */
async function isFinishedFold(directory: string, config: Config): Promise<boolean> {
  const { checkpointsPath, configPath, summaryPath } = new RunDirectory(directory);
  const isFinished = await exists(summaryPath);
  const hasBegun = isFinished || (await listGenerations(checkpointsPath)).length > 0;
  if (!hasBegun) return false;
  const text = await fs.readFile(configPath, 'utf8').catch(() => '');
  if (text === formatConfigYaml(config)) return isFinished;
  throw new LockstepError({
    category: 'usage',
    code: 'E_FOLDS_CONFIG',
    message: `${directory} is the run of another config or number of folds`,
    help: 'resume with the config that it was started with, or name another --run-dir',
  });
}

function exists(file: string): Promise<boolean> {
  return fs.access(file).then(
    () => true,
    () => false,
  );
}

async function readSummary(directory: string): Promise<Summary> {
  const { summaryPath } = new RunDirectory(directory);
  return JSON.parse((await readRegularFile(summaryPath, MAX_SUMMARY_BYTES)).toString()) as Summary;
}

function compare(summaries: readonly Summary[]): Record<string, FoldMetric> {
  const tests = summaries.map(({ test }) => (test ? scalarMetrics(test) : {}));
  const names = Object.keys(tests[0] ?? {}).filter((name) => tests.every((metrics) => name in metrics));
  return Object.fromEntries(
    names.map((name) => {
      const values = tests.map((metrics) => metrics[name] as number);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const squares = values.reduce((sum, value) => sum + (value - mean) * (value - mean), 0);
      return [name, { mean, deviation: Math.sqrt(squares / (values.length - 1)), values }];
    }),
  );
}
