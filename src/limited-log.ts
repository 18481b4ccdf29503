// A log for lines whose number others decide: whoever reaches the port could fill a disk and hide what matters. Some lines of
// each kind are written, and the number of those left out is reported now and then.
import type { Logger } from './log.ts';

/** Lines of one kind that may come at once: 50 workers may join together. */
const BURST = 64;
/** Lines of the kind a second after that. */
const LINES_PER_SECOND = 1;
const SUMMARY_MS = 10_000;

interface Budget {
  lines: number;
  readMs: number;
}

/** A log that limits the number of lines of each kind. */
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

  /** Writes the line unless there were too many of its kind, a plural such as `workers that left`; returns whether it did. */
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
