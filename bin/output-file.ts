// Writes the data of a command to a file instead of to stdout.
import type { BigIntStats } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { writeFileDurably } from '../src/durable-write.ts';
import type { FileSlice } from '../src/durable-write.ts';
import { LockstepError, systemErrorCode } from '../src/errors.ts';
import { cannotWrite, printBlocks } from '../coordinator/output/stdout.ts';
import { createRuntime } from './runtime.ts';

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
