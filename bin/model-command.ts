// `lockstep predict` and `lockstep evaluate`: what a finished run's model says of new rows, and how good it is. Both only
// read, so a signal ends them at once.
import fs from 'node:fs/promises';
import { resolve } from 'node:path';
import type { DataSource } from '../src/config/data-kind.ts';
import { LockstepError, systemErrorCode } from '../src/errors.ts';
import { scalarMetrics } from '../src/metrics/split-metrics.ts';
import { formatPredictions } from '../src/predict/prediction-csv.ts';
import { readSamples } from '../src/predict/sample-file.ts';
import { TrainedModel } from '../src/predict/trained-model.ts';
import { evaluateRun } from '../coordinator/evaluate-run.ts';
import { formatMetricsTable } from '../coordinator/output/summary.ts';
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
  const samples = await readSamples(model.description, file, warn);
  const blocks = formatPredictions(model.predictEach(samples), model.description);
  if (output === undefined) await printBlocks(blocks);
  else await writeBlocks(blocks, output);
}

/** Measures a run's model again, on a split of its data or on new samples. */
export async function evaluate(run: string, args: EvaluateArguments): Promise<void> {
  const { log, screen } = createOutput();
  const { split } = args;
  const data = sourceOf(args);
  const metrics = await evaluateRun(run, { split, data, warn: (message) => log.warn(message) });
  const column = data === undefined ? (split ?? 'test') : 'data';
  screen.write(`${formatMetricsTable([[column, scalarMetrics(metrics)]])}\n`);
  if (args.json) process.stdout.write(`${JSON.stringify(metrics, null, 2)}\n`);
}

function sourceOf({ data, labels }: EvaluateArguments): DataSource | undefined {
  if (data === undefined && labels !== undefined) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_EVALUATE_LABELS',
      message: '--labels goes with --data, which has the images',
    });
  }
  if (data === undefined) return undefined;
  if (labels !== undefined) return { images: resolve(data), labels: resolve(labels) };
  return resolve(data);
}

/** To stdout, whose reader may leave (`| head`): then there is nothing more to do, and nothing is wrong. */
async function printBlocks(blocks: Iterable<string>): Promise<void> {
  process.stdout.on('error', () => undefined);
  for (const block of blocks) {
    const error = await new Promise<Error | null | undefined>((done) => process.stdout.write(block, done));
    if (error && systemErrorCode(error) === 'EPIPE') return;
    if (error) throw cannotWrite('stdout', error);
  }
}

async function writeBlocks(blocks: Iterable<string>, file: string): Promise<void> {
  try {
    const handle = await fs.open(file, 'w');
    try {
      for (const block of blocks) await handle.appendFile(block);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw systemErrorCode(error) === undefined || error instanceof LockstepError
      ? error
      : cannotWrite(file, error);
  }
}

function cannotWrite(where: string, cause: unknown): LockstepError {
  const why = systemErrorCode(cause) ?? String(cause);
  return new LockstepError({
    category: 'failure',
    code: 'E_OUTPUT',
    message: `cannot write the predictions to ${where}: ${why}`,
    cause,
  });
}
