// The data of a command on stdout, which scripts read. Text for people goes to stderr.
import { LockstepError, systemErrorCode } from '../../src/errors.ts';
import { stringifyRecord } from '../../src/json.ts';
import { printable } from '../../src/printable.ts';
import { causeInWords } from './result-file.ts';

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
