// The files that a run exists to produce: if the disk refuses one, the run ends with an error, not
// with a stack trace.
import { writeFileDurably } from '../../src/durable-write.ts';
import { LockstepError, systemErrorCode } from '../../src/errors.ts';
import { UnreadableFile } from '../../src/regular-file.ts';

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

/** Writes the file durably. @throws LockstepError (exit 4) if the disk refuses it. */
export async function writeResultFile(file: string, content: Uint8Array | string): Promise<void> {
  try {
    await writeFileDurably(file, content);
  } catch (cause) {
    if (systemErrorCode(cause) === undefined) throw cause;
    throw new LockstepError({
      category: 'checkpoint',
      code: 'E_RESULT_SAVE',
      message: `${file}: not written (${causeInWords(cause)})`,
      help: 'make room on the disk or repair it, and resume from the last checkpoint with --resume last',
      cause,
    });
  }
}
