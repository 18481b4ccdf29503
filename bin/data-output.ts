// Where the data of a command go: to stdout, which scripts read, or to a file in its stead.
import type { BigIntStats } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { writeFileDurably } from '../src/durable-write.ts';
import type { FileSlice } from '../src/durable-write.ts';
import { LockstepError, systemErrorCode } from '../src/errors.ts';
import { printable } from '../src/printable.ts';
import { stringifyRecord } from '../src/json.ts';
import { causeInWords } from '../coordinator/output/result-file.ts';
import { createRuntime } from './runtime.ts';

/** A socket cannot be opened by this name, and a file behind `>>` would be emptied. */
const STDOUT = /^\/(dev\/stdout|dev\/fd\/1|proc\/self\/fd\/1)$/;
/** Other names of what is open already: a rename would put a file in its place, and leave who holds it without. */
const OPEN_ALREADY = /^\/(dev|proc\/[^/]+)\/(fd\/|stderr$)/;

/**
 * Writes text to stdout, whose reader may leave (`| head`): then there is nothing more to do, and nothing is wrong.
 * @throws LockstepError (exit 1) where it cannot be written, as on a full disk.
 */
export async function printData(text: string): Promise<void> {
  await printBlocks([text]);
}

/** As `printData`, a text for people: control characters in it are shown as escapes wherever it goes. */
export async function printText(text: string): Promise<void> {
  await printData(printable(text));
}

/** Writes a value to stdout as JSON; else as `printData`. */
export async function printJson(value: unknown): Promise<void> {
  await printData(`${stringifyRecord(value, 2)}\n`);
}

/**
 * As `printData`, a block at a time, each made when the one before it is written. Data are written as they are, but for a
 * terminal, which names of classes must not steer.
 */
export async function printBlocks(blocks: Iterable<string>): Promise<void> {
  // The callback has the error, but without a listener it would end the process as well.
  if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => undefined);
  for (const block of blocks) {
    const shown = process.stdout.isTTY ? printable(block) : block;
    const error = await new Promise<Error | null | undefined>((done) => process.stdout.write(shown, done));
    if (error && systemErrorCode(error) === 'EPIPE') return;
    if (error) throw cannotWrite('stdout', error);
  }
}

/**
 * Writes a file a block at a time. One that is there stays as it is until the new one is whole; what is no regular file,
 * such as a pipe, takes the blocks as they come.
 * @throws LockstepError (exit 1) where it cannot be written; what `blocks` throws passes through.
 */
export async function writeBlocks(blocks: Iterable<string>, file: string): Promise<void> {
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

/** Whether two names are of one file, however they are written. */
export async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([statOf(one), statOf(other)]);
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino;
}

// Numbers of 64 bits, as Windows has them, are not exact in float64.
function statOf(file: string): Promise<BigIntStats | undefined> {
  return fs.stat(file, { bigint: true }).catch(() => undefined);
}

/** Where a rename puts the file, links followed, and with which mode; undefined where none may be put. */
async function findReplaceable(file: string): Promise<{ path: string; mode: number } | undefined> {
  if (OPEN_ALREADY.test(path.resolve(file))) return undefined;
  const target = await fs.realpath(file).catch(() => file);
  const found = await fs.lstat(target).catch(() => undefined);
  if (found === undefined) return { path: target, mode: 0o666 };
  if (!found.isFile()) return undefined;
  // A rename asks the directory only: a file that is write-protected is to stay.
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

/** A signal ends them with its reason, so that no temporary file is left behind. */
function* slicesOf(blocks: Iterable<string>, signal: AbortSignal): Generator<FileSlice, void, undefined> {
  let position = 0;
  for (const block of blocks) {
    signal.throwIfAborted();
    const bytes = Buffer.from(block);
    yield { position, bytes };
    position += bytes.byteLength;
  }
}

function cannotWrite(where: string, cause: unknown): LockstepError {
  const isNowhere = ['ENOENT', 'ENOTDIR'].includes(systemErrorCode(cause) ?? '');
  return new LockstepError({
    category: 'failure',
    code: 'E_OUTPUT',
    message: `cannot write to ${where}: ${causeInWords(cause)}`,
    help: isNowhere
      ? 'make the directory first, or name a file in one that exists'
      : 'make room there, or name a place that can be written',
    cause,
  });
}
