// `lockstep predict` and `lockstep evaluate`: predictions of a finished run's model, and its
// metrics. While they only read, a signal ends them at once.
import fs from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { DataSource } from '../src/config/data-sources.ts';
import { LockstepError } from '../src/errors.ts';
import { scalarMetrics } from '../src/metrics/definitions.ts';
import { formatPredictions } from '../src/predict/predictions.ts';
import { readSamples } from '../src/predict/samples.ts';
import { TrainedModel } from '../src/predict/trained-model.ts';
import { evaluateRun } from '../coordinator/commands/evaluate.ts';
import { formatMetricsTable } from '../coordinator/output/summary.ts';
import { printBlocks, printJson } from '../coordinator/output/stdout.ts';
import { isSameFile, writeBlocks } from './output-file.ts';
import { createOutput } from './runtime.ts';

/** Arguments of `lockstep predict`. */
export interface PredictArguments {
  readonly output?: string;
}

/** Arguments of `lockstep evaluate`. */
export interface EvaluateArguments {
  readonly split?: 'train' | 'validation' | 'test';
  readonly data?: string;
  readonly labels?: string;
  readonly json?: boolean;
}

/** Writes a CSV of predictions for the samples in `file`. */
export async function predict(run: string, file: string, { output }: PredictArguments): Promise<void> {
  const { log } = createOutput();
  const warn = (message: string): void => log.warn(message);
  const model = await TrainedModel.load(run, { warn });
  if (output !== undefined) await refuseToOverwrite(output, file, model.directory);
  const samples = await readSamples(model.description, file, warn);
  const blocks = formatPredictions(model.predictEach(samples), model.description);
  if (output === undefined) await printBlocks(blocks);
  else await writeBlocks(blocks, output);
}

/** Throws if the predictions would overwrite a file that they are made from. */
async function refuseToOverwrite(output: string, input: string, model: string): Promise<void> {
  if (await isSameFile(output, input)) throw wouldOverwrite(output, 'the file to predict');
  for (const name of await fs.readdir(model)) {
    if (await isSameFile(output, join(model, name))) throw wouldOverwrite(output, 'a file of the model');
  }
}

function wouldOverwrite(output: string, what: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_OUTPUT',
    message: `--output ${output} is ${what}`,
    help: 'name another file for the predictions',
  });
}

/** Measures a run's model again, on a split of its data or on new samples. */
export async function evaluate(run: string, args: EvaluateArguments): Promise<void> {
  const { log, screen } = createOutput();
  const { split } = args;
  const data = sourceOf(args);
  const metrics = await evaluateRun(run, { split, data, warn: (message) => log.warn(message) });
  const column = data === undefined ? (split ?? 'test') : 'data';
  screen.write(`${formatMetricsTable([[column, scalarMetrics(metrics)]])}\n`);
  if (args.json) await printJson(metrics);
}

function sourceOf({ data, labels }: EvaluateArguments): DataSource | undefined {
  if (data === undefined && labels !== undefined) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_EVALUATE_LABELS',
      message: '--labels requires --data, which names the images',
    });
  }
  if (data === undefined) return undefined;
  if (labels !== undefined) return { images: resolve(data), labels: resolve(labels) };
  return resolve(data);
}
