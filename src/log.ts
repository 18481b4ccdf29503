// The log: human lines on stderr, the same records as ndjson in a file, both written synchronously, so
// that nothing is left to flush when a process ends, however it ends; and a limit to lines that others
// cause.
import { pino, stdTimeFunctions } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { LockstepError } from './errors.ts';
import { type BeforeChange, LineFile } from './line-file.ts';
import { indentFurther, printable } from './printable.ts';
import { wrapLines } from './screen.ts';
import { Screen } from './screen.ts';

/** A structured logger; `logger.child({ worker: 3 })` adds fields to every line. */
export type Logger = pino.Logger;

/** Log levels, from most to least; `silent` logs nothing. */
export type LogLevel = pino.LevelWithSilent;

export const LOG_LEVELS = [
  'silent',
  'fatal',
  'error',
  'warn',
  'info',
  'debug',
  'trace',
] as const satisfies LogLevel[];

/** A worker never opens a file; its lines must not pile up. */
const MAX_EARLY_LINES = 1000;

/**
 * The ndjson copy of the log. What is logged before `open` (the run directory is not known yet) is kept and
 * written then.
 */
export class LogFile {
  /** Undefined once opened. */
  #early: string[] | undefined = [];
  #file: LineFile | undefined;
  #hasLostLines = false;

  /** Opens for appending; throws the system's error if that fails. */
  open(path: string, beforeChange?: BeforeChange): void {
    this.#file = new LineFile(path, beforeChange);
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const line of early) this.write(line);
  }

  /** Throws the system's error for the first line that the disk refuses; later ones may find room again. */
  write(line: string): void {
    if (this.#early && this.#early.length < MAX_EARLY_LINES) this.#early.push(line);
    try {
      this.#file?.append(line);
    } catch (error) {
      // The file is another process's by now.
      if (error instanceof LockstepError) return this.close();
      if (this.#hasLostLines) return;
      this.#hasLostLines = true;
      throw error;
    }
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }
}

/** The settings of a logger. */
export interface LoggerOptions {
  /** Default `info`. */
  readonly level?: LogLevel | undefined;
  /** Default: a screen on stderr. Share it with the progress bar. */
  readonly screen?: Screen | undefined;
  /** Gets every line as ndjson. */
  readonly file?: LogFile | undefined;
}

/** A record with all its texts made printable, before they are mixed with colours. */
function printableRecord(value: unknown): unknown {
  if (typeof value === 'string') return printable(value);
  if (Array.isArray(value)) return value.map(printableRecord);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, part]) => [printable(key), printableRecord(part)]),
  );
}

/** Makes the root logger of a process. */
export function createLogger(options: LoggerOptions = {}): Logger {
  const { level = 'info', screen = new Screen(), file } = options;
  // Not pino-pretty's own stream, which hands lines over later: a crash would lose the last of them.
  const prettify = prettyFactory({
    colorize: screen.hasColors,
    translateTime: 'SYS:HH:MM:ss',
    singleLine: true,
  });
  const destination = {
    write(line: string): void {
      const text = indentFurther(prettify(printableRecord(JSON.parse(line))));
      // Elsewhere a record stays one line, which can be searched for.
      screen.writeStyled(screen.isTTY ? wrapLines(text, screen.columns) : text);
      try {
        file?.write(printable(line));
      } catch (error) {
        screen.write(`the log file is losing lines, but the run continues: ${String(error)}\n`);
      }
    },
  };
  return pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}

// Whoever reaches the port decides the number of some lines, and could fill a disk and hide what matters.

/** Lines of one kind that may come at once: 50 workers may join together. */
const BURST = 64;
/** Lines of the kind a second after that. */
const LINES_PER_SECOND = 1;
const SUMMARY_MS = 10_000;

interface Budget {
  lines: number;
  readMs: number;
}

/** A log that limits the number of lines of each kind, and reports now and then how many it left out. */
export class LimitedLog {
  readonly #log: Logger;
  readonly #onLeftOut: (counts: ReadonlyMap<string, number>) => void;
  readonly #budgets = new Map<string, Budget>();
  readonly #leftOut = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  /** `onLeftOut` is told the number of lines left out, by their kind, with each summary. */
  constructor(log: Logger, onLeftOut: (counts: ReadonlyMap<string, number>) => void = () => undefined) {
    this.#log = log;
    this.#onLeftOut = onLeftOut;
  }

  /**
   * Writes the line unless there were too many of its kind, a plural such as
   * `workers that left`; returns whether it did.
   */
  write(level: 'info' | 'warn', kind: string, line: string): boolean {
    if (this.#take(kind)) {
      this.#log[level](line);
      return true;
    }
    this.#leftOut.set(kind, (this.#leftOut.get(kind) ?? 0) + 1);
    this.#timer ??= setTimeout(() => this.flush(), SUMMARY_MS).unref();
    return false;
  }

  /** Sums up what was left out since the last time. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#leftOut.size === 0) return;
    const counts = new Map(this.#leftOut);
    this.#leftOut.clear();
    const list = [...counts].map(([kind, count]) => `${count} ${kind}`).join(', ');
    this.#log.warn(`too many to be logged one by one, since the last such line: ${list}`);
    this.#onLeftOut(counts);
  }

  #take(kind: string): boolean {
    const nowMs = performance.now();
    const { lines, readMs } = this.#budgets.get(kind) ?? { lines: BURST, readMs: nowMs };
    const left = Math.min(BURST, lines + ((nowMs - readMs) * LINES_PER_SECOND) / 1000);
    this.#budgets.set(kind, { lines: left >= 1 ? left - 1 : left, readMs: nowMs });
    return left >= 1;
  }
}
