// The results of a command: data on stdout, which scripts read, and the files that a run exists to
// produce. If one cannot be written, the command ends with an error, not with a stack trace. Text for
// people goes to stderr.
import { LockstepError, systemErrorCode } from '../../src/errors.ts';
import { stringifyRecord } from '../../src/json.ts';
import { printable } from '../../src/printable.ts';
import { writeFileDurably } from '../../src/durable-write.ts';
import type { BeforeChange } from '../../src/line-file.ts';
import { UnreadableFile } from '../../src/regular-file.ts';

/**
 * Writes text to stdout. A reader that leaves (`| head`) is no error: there is nothing more to do.
 * @throws LockstepError (exit 1) where it cannot be written, as on a full disk.
 */
export async function printData(text: string): Promise<void> {
  await printBlocks([text]);
}

/** Writes text for people to stdout, with control characters as escapes wherever it goes. */
export async function printText(text: string): Promise<void> {
  await printData(printable(text));
}

/** Writes a value to stdout as JSON. */
export async function printJson(value: unknown): Promise<void> {
  await printData(`${stringifyRecord(value, 2)}\n`);
}

/**
 * Writes blocks to stdout, each made when the one before it is written. Data are written as they
 * are, except to a terminal, which names of classes must not steer.
 * @throws LockstepError (exit 1) where they cannot be written.
 */
export async function printBlocks(
  blocks: Iterable<string> | AsyncIterable<string | Uint8Array>,
): Promise<void> {
  // The callback has the error, but without a listener it would end the process as well.
  if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => undefined);
  for await (const block of blocks) {
    const shown = process.stdout.isTTY && typeof block === 'string' ? printable(block) : block;
    const error = await new Promise<Error | null | undefined>((done) => process.stdout.write(shown, done));
    if (error && systemErrorCode(error) === 'EPIPE') return;
    if (error) throw cannotWrite('stdout', error);
  }
}

/** Writes the file durably. @throws LockstepError (exit 4) if the disk refuses it. */
export async function writeResultFile(
  file: string,
  content: Uint8Array | string,
  beforeChange?: BeforeChange,
): Promise<void> {
  try {
    await writeFileDurably(file, content, { beforeChange });
  } catch (cause) {
    if (systemErrorCode(cause) === undefined || cause instanceof LockstepError) throw cause;
    throw new LockstepError({
      category: 'checkpoint',
      code: 'E_RESULT_SAVE',
      message: `${file}: not written (${causeInWords(cause)})`,
      help: 'make room on the disk or repair it, and resume from the last checkpoint with --resume last',
      cause,
    });
  }
}

/** The error for data that cannot be written to a place. */
export function cannotWrite(where: string, cause: unknown): LockstepError {
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

const CAUSES: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space left',
  EDQUOT: 'the disk quota is used up',
  ENOENT: 'no such directory',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of the path is a file',
  EEXIST: 'the path exists and is not a directory',
  ELOOP: 'a link leads back to itself',
  ENAMETOOLONG: 'the name is too long',
  ENXIO: 'it is a pipe without a reader, or a socket',
  ERR_INVALID_ARG_VALUE: 'the name holds a NUL',
};

/** The words for a failure of the disk. */
export function causeInWords(cause: unknown): string {
  return (
    CAUSES[systemErrorCode(cause) ?? ''] ?? (cause instanceof UnreadableFile ? cause.message : String(cause))
  );
}
