// The speed of each worker, from what it has delivered, and so the time by which it should deliver
// more. No user has to guess a timeout: all times here are multiples of measured ones.

/** Weight of the newest measurement in a worker's speed. */
const SMOOTHING = 0.3;
/** Shorter times are below what timers and garbage collectors let anyone measure. */
const MIN_MEASURED_MS = 0.01;

interface Measured {
  /** Rows a millisecond; undefined until it has delivered a task. */
  speed: number | undefined;
  numTasks: number;
  /** Time before which it was busy with something else. */
  freeSinceMs: number;
}

/** Speeds of workers. Times are monotonic milliseconds. */
export class Pace {
  readonly #workers = new Map<number, Measured>();
  /** Mean of those who have delivered, in rows a millisecond; undefined while nobody has. */
  #meanSpeed: number | undefined;

  #firstDeliveryMs = Infinity;

  join(worker: number, nowMs: number): void {
    this.#workers.set(worker, { speed: undefined, numTasks: 0, freeSinceMs: nowMs });
  }

  leave(worker: number): void {
    this.#workers.delete(worker);
    this.#meanSpeed = this.#mean();
  }

  /** Measures a worker that has delivered the rows it was given at `givenMs`. */
  deliver(worker: number, rows: number, givenMs: number, nowMs: number): void {
    const found = this.#workers.get(worker);
    if (!found) return;
    const measured = rows / Math.max(nowMs - this.beganMs(worker, givenMs), MIN_MEASURED_MS);
    // The first task pays for compiling and first touches of memory: the second one replaces it.
    const isCold = found.speed === undefined || found.numTasks === 1;
    found.speed = isCold ? measured : found.speed! + SMOOTHING * (measured - found.speed!);
    found.numTasks++;
    this.#firstDeliveryMs = Math.min(this.#firstDeliveryMs, nowMs);
    found.freeSinceMs = nowMs;
    this.#meanSpeed = this.#mean();
  }

  /**
   * Measures a worker that gives a task up because its round is over: it was no faster than
   * that. Without this, a worker that delivers once and then never again would have the
   * largest share of each round.
   */
  giveUp(worker: number, rows: number, givenMs: number, nowMs: number): void {
    const found = this.#workers.get(worker);
    if (!found) return;
    const most = rows / Math.max(nowMs - this.beganMs(worker, givenMs), MIN_MEASURED_MS);
    if (found.speed !== undefined && most < found.speed) found.speed += SMOOTHING * (most - found.speed);
    found.freeSinceMs = nowMs;
    this.#meanSpeed = this.#mean();
  }

  /** Tells whether the worker has ever delivered a task. */
  isProven(worker: number): boolean {
    return this.#workers.get(worker)?.speed !== undefined;
  }

  /**
   * Tells whether the worker has delivered nothing, though somebody had when it joined,
   * or when the round began.
   */
  isLateJoiner(worker: number, roundBeganMs: number): boolean {
    const { speed, freeSinceMs = 0 } = this.#workers.get(worker) ?? {};
    return speed === undefined && this.#firstDeliveryMs < Math.max(roundBeganMs, freeSinceMs);
  }

  /**
   * The time when the worker began, or will have begun, a task given at `givenMs`
   * that it has not delivered.
   */
  beganMs(worker: number, givenMs: number): number {
    return Math.max(givenMs, this.#workers.get(worker)?.freeSinceMs ?? givenMs);
  }

  /**
   * Measured speed in rows a millisecond, or the mean of the others. A worker's own
   * claims count for nothing.
   */
  speedOf(worker: number): number {
    return this.#workers.get(worker)?.speed ?? this.#meanSpeed ?? 1;
  }

  /** Time that the worker needs for this many rows; undefined while nobody has delivered any. */
  expectedMs(worker: number, rows: number): number | undefined {
    return this.#meanSpeed === undefined ? undefined : rows / this.speedOf(worker);
  }

  #mean(): number | undefined {
    const speeds = [...this.#workers.values()].flatMap(({ speed }) => speed ?? []);
    return speeds.length === 0 ? undefined : speeds.reduce((sum, speed) => sum + speed) / speeds.length;
  }
}
