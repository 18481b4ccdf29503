// How fast each worker is, from what it has delivered, and by that when it ought to have delivered more. No user has
// to guess a timeout: all times here are multiples of measured ones.

/** Weight of the newest measurement in a worker's speed. */
const SMOOTHING = 0.3;
/** Shorter times are below what timers and garbage collectors let anyone measure. */
const MIN_MEASURED_MS = 0.01;

interface Measured {
  readonly threads: number;
  /** Rows a millisecond; undefined until it has delivered a range. */
  speed: number | undefined;
  numRanges: number;
  /** Before this moment it was busy with something else. */
  freeSinceMs: number;
}

/** Speeds of workers. Times are monotonic milliseconds. */
export class Pace {
  readonly #workers = new Map<number, Measured>();
  /** Rows a millisecond of one thread; undefined while nobody has delivered any. Kept until someone delivers or leaves. */
  #meanThreadSpeed: number | undefined;

  join(worker: number, threads: number, nowMs: number): void {
    this.#workers.set(worker, { threads, speed: undefined, numRanges: 0, freeSinceMs: nowMs });
  }

  leave(worker: number): void {
    this.#workers.delete(worker);
    this.#meanThreadSpeed = this.#measureThreads();
  }

  /** A worker has delivered so many rows, which it was given at `givenMs`. */
  deliver(worker: number, rows: number, givenMs: number, nowMs: number): void {
    const found = this.#workers.get(worker);
    if (!found) return;
    const measured = rows / Math.max(nowMs - Math.max(givenMs, found.freeSinceMs), MIN_MEASURED_MS);
    // The first range pays for compiling and first touches of memory: the second one replaces it.
    const isCold = found.speed === undefined || found.numRanges === 1;
    found.speed = isCold ? measured : found.speed! + SMOOTHING * (measured - found.speed!);
    found.numRanges++;
    found.freeSinceMs = nowMs;
    this.#meanThreadSpeed = this.#measureThreads();
  }

  /** Whether the worker has ever delivered a range. */
  isProven(worker: number): boolean {
    return this.#workers.get(worker)?.speed !== undefined;
  }

  /** When the worker began, or will have begun, what it was given at `givenMs` and has not delivered. */
  beganMs(worker: number, givenMs: number): number {
    return Math.max(givenMs, this.#workers.get(worker)?.freeSinceMs ?? givenMs);
  }

  /** Rows a millisecond: measured; or by the number of threads, at the mean speed of the measured ones'. */
  speedOf(worker: number): number {
    const { speed, threads } = this.#workers.get(worker) ?? { speed: undefined, threads: 1 };
    return speed ?? threads * (this.#meanThreadSpeed ?? 1);
  }

  /** Time that the worker needs for so many rows; undefined while nobody has delivered any. */
  expectedMs(worker: number, rows: number): number | undefined {
    return this.#meanThreadSpeed === undefined ? undefined : rows / this.speedOf(worker);
  }

  #measureThreads(): number | undefined {
    let threads = 0;
    let speed = 0;
    for (const worker of this.#workers.values()) {
      if (worker.speed === undefined) continue;
      threads += worker.threads;
      speed += worker.speed;
    }
    return threads === 0 ? undefined : speed / threads;
  }
}
