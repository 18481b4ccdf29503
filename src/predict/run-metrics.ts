// The metrics that a run measured of its model, from the summary beside it.
import path from 'node:path';
import { z } from 'zod';
import { parseJson } from '../json.ts';
import { scalarMetrics, type SplitMetrics } from '../metrics/definitions.ts';
import { readRegularFile } from '../regular-file.ts';
import type { SavedModel } from './model-files.ts';

const SUMMARY_FILE = 'summary.json';
/** Far more than a confusion matrix of 1,000 classes takes. */
const MAX_SUMMARY_BYTES = 64 * 2 ** 20;

const metricsSchema = z.record(z.string(), z.unknown()).optional();
const summarySchema = z.object({
  weightsSha256: z.string(),
  validation: metricsSchema,
  test: metricsSchema,
});

/** Finite metrics by name, under the name of the split that they were measured on. */
export type RunMetrics = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** Reads the metrics; there are none where the run has not finished, or the model lies elsewhere. */
export async function readRunMetrics({
  directory,
  description,
}: Pick<SavedModel, 'directory' | 'description'>): Promise<RunMetrics> {
  const summary = await readSummary(path.join(path.dirname(directory), SUMMARY_FILE));
  if (summary?.weightsSha256 !== description.weightsSha256) return {};
  const splits = Object.entries({ validation: summary.validation, test: summary.test }).flatMap(
    ([split, metrics]) => (metrics === undefined ? [] : [[split, finiteScalars(metrics)] as const]),
  );
  return Object.fromEntries(splits);
}

async function readSummary(file: string): Promise<z.output<typeof summarySchema> | undefined> {
  try {
    const text = (await readRegularFile(file, MAX_SUMMARY_BYTES)).toString();
    return summarySchema.safeParse(parseJson(text)).data;
  } catch {
    // A model may be copied without its run.
    return undefined;
  }
}

/** Records have strings for numbers that are not finite. */
function finiteScalars(metrics: Record<string, unknown>): Record<string, number> {
  const scalars: Record<string, unknown> = scalarMetrics(metrics as unknown as SplitMetrics);
  const isNumber = (entry: [string, unknown]): entry is [string, number] => typeof entry[1] === 'number';
  return Object.fromEntries(Object.entries(scalars).filter(isNumber));
}
