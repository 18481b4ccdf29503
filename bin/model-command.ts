// `lockstep predict` and `lockstep evaluate`: predictions of a finished run's model, to stdout or a file,
// and its metrics. While they only read, a signal ends them at once.
import { fstatSync, type BigIntStats } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import type { DataSource } from '../src/config/data-sources.ts';
import { resolveSource } from '../src/config/resolve-paths.ts';
import { LockstepError, quoteValue, systemErrorCode } from '../src/errors.ts';
import { scalarMetrics } from '../src/metrics/definitions.ts';
import { encodePredictions } from '../src/predict/arrays.ts';
import { loadModel } from '../src/predict/load-model.ts';
import type { ModelDescription } from '../src/predict/model-files.ts';
import { formatPredictions, type Prediction, type PrintOptions } from '../src/predict/predictions.ts';
import { readSamples } from '../src/predict/sample-files.ts';
import { keepError, readEncodedBlocks, type InputFormat } from '../src/predict/table-blocks.ts';
import type { TrainedModel } from '../src/predict/trained-model.ts';
import { evaluateRun } from '../coordinator/commands/evaluate.ts';
import { localPath } from '../coordinator/object-storage/fetch-objects.ts';
import { formatMetricsTable } from '../coordinator/output/summary.ts';
import { cannotWrite, printBlocks, printJson } from '../coordinator/output/results.ts';
import { createOutput, createRuntime } from './runtime.ts';
import { writeFileDurably } from '../src/durable-write.ts';
import type { FileSlice } from '../src/durable-write.ts';

/** Arguments of `lockstep predict`. */
export interface PredictArguments {
  readonly output?: string;
  readonly format?: 'csv' | 'jsonl' | 'npz';
  readonly inputFormat?: InputFormat;
  readonly keep: readonly string[];
}

/** Arguments of `lockstep evaluate`. */
export interface EvaluateArguments {
  readonly split?: 'train' | 'validation' | 'test';
  readonly data?: string;
  readonly labels?: string;
  readonly json?: boolean;
}

/** The file that stands for stdin. */
const STDIN = '-';

/** Writes predictions for the samples in `file`, as CSV, JSON Lines or arrays. */
export async function predict(run: string, input: string, args: PredictArguments): Promise<void> {
  const { format, keep, output } = args;
  if (format === 'npz') requireArrays(output, keep);
  const { log } = createOutput();
  const warn = (message: string): void => log.warn(message);
  const model = await loadModel(run, { warn });
  const file = await localPath(input, { say: warn });
  if (output !== undefined) await refuseToOverwrite(output, file, model.directory);
  const parts = predictedParts(model, file, args, warn);
  const blocks =
    format === 'npz' ? archiveOf(parts, model.description) : linesOf(parts, model.description, format);
  if (output === undefined) await printBlocks(blocks);
  else await writeBlocks(blocks, output);
}

/** Predictions, and what goes before each. */
interface PredictedPart extends Omit<PrintOptions, 'format'> {
  readonly predictions: Iterable<Prediction>;
}

async function* linesOf(
  parts: AsyncIterable<PredictedPart>,
  description: ModelDescription,
  format: PrintOptions['format'],
): AsyncGenerator<string, void, undefined> {
  for await (const { predictions, ...options } of parts)
    yield* formatPredictions(predictions, description, { format, ...options });
}

/** All predictions as one archive of arrays. */
async function* archiveOf(
  parts: AsyncIterable<PredictedPart>,
  { transforms }: ModelDescription,
): AsyncGenerator<Uint8Array, void, undefined> {
  const all: Prediction[] = [];
  for await (const { predictions } of parts) for (const prediction of predictions) all.push(prediction);
  yield encodePredictions(all, transforms);
}

function requireArrays(output: string | undefined, keep: readonly string[]): void {
  if (keep.length > 0) throw keepError('an archive of arrays has no columns of the table');
  if (output !== undefined) return;
  throw new LockstepError({
    category: 'usage',
    code: 'E_PREDICT_FORMAT',
    message: '--format npz writes a file',
    help: 'name it: --output predictions.npz',
  });
}

/** Predictions: of a table as its rows are read, of all else once it is read. */
async function* predictedParts(
  model: TrainedModel,
  file: string,
  { inputFormat, keep }: PredictArguments,
  warn: (message: string) => void,
): AsyncGenerator<PredictedPart, void, undefined> {
  const { description } = model;
  if (!description.transforms.features.some((feature) => 'column' in feature)) {
    refuseTableOptions(file, inputFormat, keep);
    yield { predictions: model.predictEach(await readSamples(description, file)) };
    return;
  }
  if (inputFormat !== undefined && file !== STDIN) throw inputFormatError();
  const columns = (await Promise.all(keep.map(namesIn))).flat();
  const blocks = readEncodedBlocks({
    input: file === STDIN ? { name: 'stdin', bytes: readStdin() } : path.resolve(file),
    description,
    format: inputFormat,
    keep: columns.includes('all') ? 'all' : columns,
    warn,
  });
  let numRows = 0;
  for await (const { samples, keptNames, kept } of blocks) {
    const predictions = model.predictEach(samples, numRows);
    const isContinued = numRows > 0;
    numRows += kept.length;
    yield { predictions, keptNames, kept, isContinued };
  }
}

/** The names in a list that commas divide; one that has a comma, or a quote, is quoted as in CSV. */
async function namesIn(list: string): Promise<readonly string[]> {
  if (!list.includes('"')) return list.split(',');
  const { parse } = await import('csv-parse/sync');
  try {
    return parse(list)[0] ?? [];
  } catch {
    throw keepError(`cannot read ${quoteValue(list)}`, `quote a name with a comma: --keep '"a,b",c'`);
  }
}

/** The bytes of stdin. @throws LockstepError (exit 3) where it cannot be read, such as a directory */
async function* readStdin(): AsyncGenerator<Buffer, void, undefined> {
  try {
    // Read as a file, a directory would be empty.
    if (fstatSync(process.stdin.fd).isDirectory()) throw new Error('it is a directory');
    for await (const chunk of process.stdin) yield chunk as Buffer;
  } catch (cause) {
    const message = `cannot read stdin: ${(cause as Error).message}`;
    throw new LockstepError({ category: 'data', code: 'E_DATA_UNREADABLE', message, cause });
  }
}

/** Refuses what goes with tables alone. */
function refuseTableOptions(file: string, inputFormat: string | undefined, keep: readonly string[]): void {
  if (keep.length > 0) throw keepError('the model takes no table, so there are no columns to keep');
  if (inputFormat !== undefined) throw inputFormatError();
  if (file !== STDIN) return;
  throw new LockstepError({
    category: 'usage',
    code: 'E_PREDICT_STDIN',
    message: 'only tables are read from stdin, and the model takes none',
    help: 'name a file',
  });
}

function inputFormatError(): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_PREDICT_FORMAT',
    message: '--input-format is for a table on stdin',
    help: 'leave it out: a file shows its format by its name or its first bytes',
  });
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
  if (data === undefined) return undefined;
  const source = labels === undefined ? data : { images: data, labels };
  return resolveSource(source, process.cwd());
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
async function writeBlocks(blocks: AsyncIterable<string | Uint8Array>, file: string): Promise<void> {
  if (STDOUT.test(path.resolve(file))) return printBlocks(blocks);
  // The system's errors come from the file alone: those of what is read have words of their own.
  try {
    const place = await findReplaceable(file);
    if (place === undefined) await writeInPlace(blocks, file);
    else {
      const { signal } = createRuntime();
      // A pipe that stays open does not keep the process alive; a file, which lacks `unref`, ends.
      signal.addEventListener('abort', () => {
        if ('unref' in process.stdin) process.stdin.unref();
      });
      await writeFileDurably(place.path, slicesOf(blocks, signal), { mode: place.mode });
    }
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

async function writeInPlace(blocks: AsyncIterable<string | Uint8Array>, file: string): Promise<void> {
  const handle = await fs.open(file, 'w');
  try {
    for await (const block of blocks) await handle.appendFile(block);
  } finally {
    await handle.close();
  }
}

/**
 * Slices for a durable write. A signal ends them with its reason, so that no temporary file is left
 * behind.
 */
async function* slicesOf(
  blocks: AsyncIterable<string | Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<FileSlice, void, undefined> {
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error));
  });
  const iterator = blocks[Symbol.asyncIterator]();
  for (let position = 0; ;) {
    // The rows of the next block may never come.
    const next = await Promise.race([iterator.next(), aborted]);
    if (next.done) return;
    const bytes = Buffer.from(next.value);
    yield { position, bytes };
    position += bytes.byteLength;
  }
}
