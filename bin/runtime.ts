// Screen, log and signals of a command, the latter as an AbortSignal.
import { didYouMean } from '../src/config/suggest.ts';
import { LockstepError, quoteValue } from '../src/errors.ts';
import { LOG_LEVELS, LogFile, createLogger } from '../src/log.ts';
import type { LogLevel, Logger } from '../src/log.ts';
import { Screen } from '../src/screen.ts';
import { Interrupted, abortUncaughtWith } from './endings.ts';

/** Screen and log of one command. */
export interface Output {
  readonly screen: Screen;
  readonly log: Logger;
  readonly logFile: LogFile;
}

/** Screen, log and signals of one command. */
export interface Runtime extends Output {
  /**
   * Aborts with an `Interrupted` at the first SIGINT or SIGTERM; one that comes later ends the
   * process at once.
   */
  readonly signal: AbortSignal;
}

/**
 * Time after the first signal within which further ones count as the same: shells, npm and
 * `timeout` signal a process and its whole group, so one Ctrl-C may arrive several times.
 */
const REPEAT_WINDOW_MS = 1000;

/**
 * Sets up the screen and the log of a command. `LOCKSTEP_LOG_LEVEL` chooses how much is logged.
 *
 * @throws LockstepError (exit 2) if it is set to anything else
 */
export function createOutput(): Output {
  const screen = new Screen();
  const logFile = new LogFile();
  const level = readLogLevel(process.env['LOCKSTEP_LOG_LEVEL'] || 'info');
  return { screen, logFile, log: createLogger({ level, screen, file: logFile }) };
}

function readLogLevel(wanted: string): LogLevel {
  const level = LOG_LEVELS.find((name) => name === wanted);
  if (level !== undefined) return level;
  throw new LockstepError({
    category: 'usage',
    code: 'E_LOG_LEVEL',
    message: `LOCKSTEP_LOG_LEVEL is ${quoteValue(wanted)}; expected one of ${LOG_LEVELS.join(', ')}`,
    help: didYouMean(wanted, LOG_LEVELS) ?? 'unset it for info',
  });
}

/** Sets up a command that ends in an orderly way on a signal. */
export function createRuntime(): Runtime {
  const { log, ...output } = createOutput();
  const controller = new AbortController();
  let isSecondSignal = false;
  const stop = (name: NodeJS.Signals): void => {
    const interrupted = new Interrupted(name);
    if (isSecondSignal) process.exit(interrupted.exitCode);
    if (controller.signal.aborted) return;
    // A signal that arrived while a step held up the event loop is read between the timer and the
    // immediate, and still counts as the same.
    setTimeout(() => setImmediate(() => (isSecondSignal = true)), REPEAT_WINDOW_MS).unref();
    log.warn(`${name}: stopping; press Ctrl-C again to stop at once`);
    controller.abort(interrupted);
  };
  // Ctrl-C and `timeout` reach a local worker as well as its coordinator, which alone decides what they mean.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, process.send ? () => undefined : stop);
  const orphaned = (): void => controller.abort(new Interrupted('SIGTERM'));
  process.once('disconnect', orphaned);
  // The disconnection from a coordinator that ended while this process was starting has already happened.
  if (process.send && !process.connected) orphaned();
  abortUncaughtWith((reason) => controller.abort(reason));
  return { ...output, log, signal: controller.signal };
}

/** Reads `HOST:PORT`. @throws LockstepError (exit 2) if it is anything else */
export function parseAddress(text: string, flag = '--listen'): { host: string; port: number } {
  const match = /^(?<host>\[[0-9a-fA-F:]+\]|[^:\s]+):(?<port>\d{1,5})$/.exec(text);
  const port = Number(match?.groups?.['port']);
  if (!match?.groups || port > 65_535) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_LISTEN_ADDRESS',
      message: `${flag} ${text}: expected HOST:PORT`,
      help: 'for example --listen 127.0.0.1:7700, or 0.0.0.0:7700 with --token-file',
    });
  }
  return { host: (match.groups['host'] as string).replace(/^\[|\]$/g, ''), port };
}

/** The port of a dashboard where none is named. */
const DASHBOARD_PORT = 7788;

/** Reads `PORT` or `HOST:PORT`, of this machine where no host is named. @throws LockstepError (exit 2) */
export function parseDashboardAddress(text: string | true, flag: string): { host: string; port: number } {
  if (text === true) return { host: '127.0.0.1', port: DASHBOARD_PORT };
  const address = /^\d+$/.test(text) ? `127.0.0.1:${text}` : text;
  if (/:\d{1,5}$/.test(address)) return parseAddress(address, flag);
  throw new LockstepError({
    category: 'usage',
    code: 'E_LISTEN_ADDRESS',
    message: `${flag} ${text}: expected PORT or HOST:PORT`,
    help: `for example ${flag} ${DASHBOARD_PORT}; after the config, ${flag} needs no port`,
  });
}
