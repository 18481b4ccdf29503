// What commands share: one screen, one log, and signals as an AbortSignal.
import { EXIT } from '../src/errors.ts';
import { LogFile, Screen, createLogger } from '../src/log.ts';
import type { LogLevel, Logger } from '../src/log.ts';

/** The reason of an abort by signal; its exit code is the shell's convention, 128 + signal. */
export class Interrupted extends Error {
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`interrupted by ${signal}`);
    this.name = 'Interrupted';
    this.exitCode = signal === 'SIGINT' ? EXIT.interrupted : EXIT.terminated;
  }
}

/** Screen and log of one command. */
export interface Output {
  readonly screen: Screen;
  readonly log: Logger;
  readonly logFile: LogFile;
}

/** Screen, log and signals of one command. */
export interface Runtime extends Output {
  /** Aborts with an `Interrupted` at the first SIGINT or SIGTERM; a second one ends the process at once. */
  readonly signal: AbortSignal;
}

/** What a command that ends in an orderly way needs at most: its last checkpoint has a minute. */
const ORDERLY_END_MS = 120_000;

/** Ends the command at hand, if it is one that can be told to end. */
let abortCommand: ((reason: Error) => void) | undefined;

const LOG_LEVELS = new Set(['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace']);

/** Sets up what a command says. `LOCKSTEP_LOG_LEVEL` chooses how much. */
export function createOutput(): Output {
  const screen = new Screen();
  const logFile = new LogFile();
  const wanted = process.env['LOCKSTEP_LOG_LEVEL'] ?? 'info';
  const level = LOG_LEVELS.has(wanted) ? (wanted as LogLevel) : 'info';
  return { screen, logFile, log: createLogger({ level, screen, file: logFile }) };
}

/** Sets up a command that ends in an orderly way when it is told to. */
export function createRuntime(): Runtime {
  const { log, ...output } = createOutput();
  const controller = new AbortController();
  // A local worker shares the terminal's Ctrl-C with its coordinator, which alone decides what it means.
  if (process.send) process.on('SIGINT', () => undefined);
  for (const name of process.send ? (['SIGTERM'] as const) : (['SIGINT', 'SIGTERM'] as const)) {
    process.on(name, () => {
      const interrupted = new Interrupted(name);
      if (controller.signal.aborted) process.exit(interrupted.exitCode);
      log.warn(`${name}: stopping; once more to stop at once`);
      controller.abort(interrupted);
    });
  }
  process.once('disconnect', () => controller.abort(new Interrupted('SIGTERM')));
  abortCommand = (reason) => controller.abort(reason);
  return { ...output, log, signal: controller.signal };
}

/**
 * Runs a command. An error that nobody caught, of a timer, a stream or a library, ends it as a signal does: a run saves
 * its checkpoint, tells its workers and closes its records. Rejects with that error then.
 */
export async function orUncaught(command: () => Promise<void>): Promise<void> {
  let first: Error | undefined;
  const deserted = new Promise<never>((_, reject) => {
    process.on('uncaughtException', (error) => {
      // What comes after the first one comes of it.
      if (first) return;
      const cause = error instanceof Error ? error : new Error(String(error));
      first = cause;
      const desert = (): void => {
        reject(cause);
        setImmediate(() => process.exit());
      };
      if (!abortCommand) return desert();
      abortCommand(cause);
      // Of a command that waits for what will never come, and of one that takes too long.
      process.once('beforeExit', desert);
      setTimeout(desert, ORDERLY_END_MS).unref();
    });
  });
  try {
    await Promise.race([command(), deserted]);
  } catch (error) {
    throw first ?? error;
  }
  if (first) throw first;
}
