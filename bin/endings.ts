// How a command ends that does not end by itself: by a signal, or by an error that nobody caught.
import { EXIT } from '../src/errors.ts';

/** The reason of an abort by signal; its exit code follows the convention of shells, 128 + signal. */
export class Interrupted extends Error {
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
    this.name = 'Interrupted';
    this.exitCode = signal === 'SIGINT' ? EXIT.interrupted : EXIT.terminated;
  }
}

/** Longest time that an orderly end takes: the last checkpoint has a minute. */
const ORDERLY_END_MS = 120_000;

/** Aborts the running command, if it can be aborted. */
let abortCommand: ((reason: Error) => void) | undefined;

/** Names how the running command is aborted after an uncaught error. */
export function abortUncaughtWith(abort: (reason: Error) => void): void {
  abortCommand = abort;
}

/**
 * Runs a command. An uncaught error, of a timer, a stream or a library, ends it as a signal does: a
 * run saves its checkpoint, tells its workers and closes its records. Then the promise rejects with
 * that error.
 */
export async function orUncaught(command: () => Promise<void>): Promise<void> {
  let first: Error | undefined;
  const abandoned = new Promise<never>((_, reject) => {
    process.on('uncaughtException', (error) => {
      // Later errors are consequences of the first.
      if (first) return;
      const cause = error instanceof Error ? error : new Error(String(error));
      first = cause;
      const abandon = (): void => {
        reject(cause);
        setImmediate(() => process.exit());
      };
      if (!abortCommand) return abandon();
      abortCommand(cause);
      // The command may wait for something that will never happen, or take too long.
      process.once('beforeExit', abandon);
      setTimeout(abandon, ORDERLY_END_MS).unref();
    });
  });
  try {
    await Promise.race([command(), abandoned]);
  } catch (error) {
    throw first ?? error;
  }
  if (first) throw first;
}
