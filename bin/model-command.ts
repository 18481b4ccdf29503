// `lockstep predict` and `lockstep evaluate`: predictions of a finished run's model, to stdout or a file,
// and its metrics. While they only read, a signal ends them at once.
import type { BigIntStats } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { DataSource } from '../src/config/data-sources.ts';
import { LockstepError, systemErrorCode } from '../src/errors.ts';
import { scalarMetrics } from '../src/metrics/definitions.ts';
import { formatPredictions } from '../src/predict/predictions.ts';
import { readSamples } from '../src/predict/samples.ts';
import { TrainedModel } from '../src/predict/trained-model.ts';
import { evaluateRun } from '../coordinator/commands/evaluate.ts';
import { formatMetricsTable } from '../coordinator/output/summary.ts';
import { cannotWrite, printBlocks, printJson } from '../coordinator/output/results.ts';
import { createOutput, createRuntime } from './runtime.ts';
import { writeFileDurably } from '../src/durable-write.ts';
import type { FileSlice } from '../src/durable-write.ts';

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
    if (await isSameFile(output, path.join(model, name))) throw wouldOverwrite(output, 'a file of the model');
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
  if (labels !== undefined) return { images: path.resolve(data), labels: path.resolve(labels) };
  return path.resolve(data);
}

/** Names of stdout: a socket cannot be opened by them, and a file behind `>>` would be emptied. */
const STDOUT = /^\/(dev\/stdout|dev\/fd\/1|proc\/self\/fd\/1)$/;
/**
 * Names of files that are open already: a rename would replace the file, and its holder would write
 * to the old one.
 */
const OPEN_ALREADY = /^\/(dev|proc\/[^/]+)\/(fd\/|stderr$)/;

/**
 * Writes a file block by block. An existing file stays as it is until the new one is complete;
 * anything but a regular file, such as a pipe, takes the blocks as they come.
 * @throws LockstepError (exit 1) if it cannot be written; errors of `blocks` pass through.
 */
async function writeBlocks(blocks: Iterable<string>, file: string): Promise<void> {
  if (STDOUT.test(path.resolve(file))) return printBlocks(blocks);
  // The system's errors come from the file alone: blocks are made in memory.
  try {
    const place = await findReplaceable(file);
    if (place === undefined) await writeInPlace(blocks, file);
    else await writeFileDurably(place.path, slicesOf(blocks, createRuntime().signal), { mode: place.mode });
  } catch (error) {
    throw systemErrorCode(error) === undefined || error instanceof LockstepError
      ? error
      : cannotWrite(file, error);
  }
}

/** True if two names belong to one file, however they are written. */
export async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([statOf(one), statOf(other)]);
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino;
}

// Numbers of 64 bits, as Windows has them, are not exact in float64.
function statOf(file: string): Promise<BigIntStats | undefined> {
  return fs.stat(file, { bigint: true }).catch(() => undefined);
}

/**
 * The path that a rename must target, links followed, and the mode; undefined if the file may not
 * be replaced.
 */
async function findReplaceable(file: string): Promise<{ path: string; mode: number } | undefined> {
  if (OPEN_ALREADY.test(path.resolve(file))) return undefined;
  const target = await fs.realpath(file).catch(() => file);
  const found = await fs.lstat(target).catch(() => undefined);
  if (found === undefined) return { path: target, mode: 0o666 };
  if (!found.isFile()) return undefined;
  // A rename checks the directory only, but a write-protected file must stay.
  await fs.access(target, fs.constants.W_OK);
  return { path: target, mode: found.mode & 0o777 };
}

async function writeInPlace(blocks: Iterable<string>, file: string): Promise<void> {
  const handle = await fs.open(file, 'w');
  try {
    for (const block of blocks) await handle.appendFile(block);
  } finally {
    await handle.close();
  }
}

/**
 * Slices for a durable write. A signal ends them with its reason, so that no temporary file is left
 * behind.
 */
function* slicesOf(blocks: Iterable<string>, signal: AbortSignal): Generator<FileSlice, void, undefined> {
  let position = 0;
  for (const block of blocks) {
    signal.throwIfAborted();
    const bytes = Buffer.from(block);
    yield { position, bytes };
    position += bytes.byteLength;
  }
}
