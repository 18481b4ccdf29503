// A trained model in a program, measured again.
import path from 'node:path';
import { z } from 'zod';
import { resolveSource } from '../src/config/resolve-paths.ts';
import type { DataSource } from '../src/config/data-sources.ts';
import {
  checkOptions,
  functionOption,
  metricsOption,
  pathArgument,
  pathOption,
} from '../src/config/options.ts';
import { dataSchema } from '../src/config/schema.ts';
import { takeRows, type RowSet } from '../src/data/table/row-set.ts';
import { isSamples, takeSamples, type ArraySet, type Samples } from '../src/data/array/arrays.ts';
import type { SplitMetrics } from '../src/metrics/definitions.ts';
import { TrainedModel } from '../src/predict/trained-model.ts';
import type { CustomMetrics } from '../coordinator/training/custom-metrics.ts';
import { gather, isRows, type Rows, type Waiting } from './waiting.ts';
import { evaluateRun } from '../coordinator/commands/evaluate.ts';

/** Samples to measure on, and the receiver of warnings. */
export interface EvaluateOptions {
  /** A split of the run's own data, whose files must still be in place; default `test`. */
  readonly split?: 'train' | 'validation' | 'test' | undefined;
  /** All the samples that the run was trained with, if they were in memory; hashes tell which is which. */
  readonly arrays?: readonly (Samples | Rows)[] | undefined;
  /**
   * New labelled samples instead, of the same kind: a path, `{ images, labels }`, samples, or rows. All
   * are measured.
   */
  readonly data?: DataSource | Samples | Rows | undefined;
  /** Metrics of your own by their names, which the result has as `custom`. */
  readonly metrics?: CustomMetrics | undefined;
  /** Directory that paths in `data` are relative to; default: the process's working directory. */
  readonly baseDirectory?: string | undefined;
  /** Called with each warning; default: `process.emitWarning`. A promise is awaited at the end. */
  readonly warn?: ((message: string) => unknown) | undefined;
}

const optionsSchema = z.strictObject({
  split: z.enum(['train', 'validation', 'test']).optional().describe('"train", "validation" or "test"'),
  arrays: z
    .array(z.custom<Samples | Rows>((value) => isSamples(value) || isRows(value)))
    .optional()
    .describe('a list of samples, [{ features, targets }], or of sets of rows'),
  data: z
    .union([dataSchema.shape.train, z.custom<Samples | Rows>((value) => isSamples(value) || isRows(value))])
    .describe('a path, { images, labels }, samples, { features, targets }, or rows'),
  metrics: metricsOption,
  baseDirectory: pathOption,
  warn: functionOption,
} satisfies Record<keyof EvaluateOptions, z.ZodType>);

const argumentsSchema = z.strictObject({
  run: z
    .union([pathArgument, z.custom<TrainedModel>((value) => value instanceof TrainedModel)])
    .describe('the directory of a run, or a loaded model'),
});

/**
 * Measures a finished run again, by the metrics of the run. For a split of its own the figures are
 * those of `summary.json`, bit for bit; new samples are encoded by what training has learnt, and
 * nothing is fitted to them.
 *
 * @param run the directory of the run, or a model that was loaded from it
 * @throws LockstepError for a run without a model, or data that do not fit it
 */
export async function evaluate(
  run: string | TrainedModel,
  options: EvaluateOptions = {},
): Promise<SplitMetrics> {
  checkOptions(argumentsSchema, { run }, 'arguments of evaluate');
  checkOptions(optionsSchema, options, 'options of evaluate');
  const { arrays = [], split, data, baseDirectory = process.cwd() } = options;
  const { warn = (message) => process.emitWarning(message) } = options;
  const sets: (ArraySet | RowSet)[] = [];
  for (const [at, samples] of arrays.entries()) {
    const set = await takeSet(samples, `arrays[${at}]`, { warn });
    if (set) sets.push(set);
  }
  const newSet = await takeSet(data, 'data', { warn });
  if (newSet) sets.unshift(newSet);
  const source = newSet ? sourceOf(newSet) : (data as DataSource | undefined);
  const said: Promise<unknown>[] = [];
  const metrics = await evaluateRun(typeof run === 'string' ? run : run.directory, {
    split,
    data: source && resolveSource(source, path.resolve(baseDirectory)),
    arrays: new Map(sets.map((set) => [set.sha256, set])),
    customMetrics: options.metrics,
    warn: (message) => {
      const saying = Promise.resolve(warn(message));
      // Awaited below, where its rejection counts.
      saying.catch(() => undefined);
      said.push(saying);
    },
  });
  await Promise.all(said);
  return metrics;
}

/** Checks samples and rows; undefined for a source that is in files. */
async function takeSet(
  data: DataSource | Samples | Rows | undefined,
  name: string,
  waiting: Waiting,
): Promise<ArraySet | RowSet | undefined> {
  if (isSamples(data)) return takeSamples(data, name);
  if (!isRows(data)) return undefined;
  return takeRows((await gather(data, name, waiting)) as readonly unknown[], name);
}

function sourceOf(set: ArraySet | RowSet): DataSource {
  return 'rows' in set ? { rows: set.sha256 } : { arrays: set.sha256 };
}
