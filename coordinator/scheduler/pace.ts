// How fast each worker is, from what it has delivered, and by that when it ought to have delivered more. No user has
// to guess a timeout: all times here are multiples of measured ones.

/** Weight of the newest measurement in a worker's speed. */
const SMOOTHING = 0.3;
/** Shorter times are below what timers and garbage collectors let anyone measure. */
const MIN_MEASURED_MS = 0.01;

interface Measured {
  /** Rows a millisecond; undefined until it has delivered a task. */
  speed: number | undefined;
  numTasks: number;
  /** Before this moment it was busy with something else. */
  freeSinceMs: number;
}

/** Speeds of workers. Times are monotonic milliseconds. */
export class Pace {
  readonly #workers = new Map<number, Measured>();
  /** Of those who have delivered, in rows a millisecond; undefined while nobody has. Kept until someone delivers or shards. */
  #meanSpeed: number | undefined;

  #firstDeliveryMs = Infinity;

  join(worker: number, nowMs: number): void {
    this.#workers.set(worker, { speed: undefined, numTasks: 0, freeSinceMs: nowMs });
  }

  leave(worker: number): void {
    this.#workers.delete(worker);
    this.#meanSpeed = this.#mean();
  }

  /** A worker has delivered so many rows, which it was given at `givenMs`. */
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
   * A worker gives up a task because its round is over: it was no faster than that. Without this, who delivers once and
   * then never again would have the largest share of each round.
   */
  giveUp(worker: number, rows: number, givenMs: number, nowMs: number): void {
    const found = this.#workers.get(worker);
    if (!found) return;
    const most = rows / Math.max(nowMs - this.beganMs(worker, givenMs), MIN_MEASURED_MS);
    if (found.speed !== undefined && most < found.speed) found.speed += SMOOTHING * (most - found.speed);
    found.freeSinceMs = nowMs;
    this.#meanSpeed = this.#mean();
  }

  /** Whether the worker has ever delivered a task. */
  isProven(worker: number): boolean {
    return this.#workers.get(worker)?.speed !== undefined;
  }

  /** Whether the worker has delivered nothing, though somebody had when it joined, or when the round began. */
  isNewcomer(worker: number, roundBeganMs: number): boolean {
    const { speed, freeSinceMs = 0 } = this.#workers.get(worker) ?? {};
    return speed === undefined && this.#firstDeliveryMs < Math.max(roundBeganMs, freeSinceMs);
  }

  /** When the worker began, or will have begun, what it was given at `givenMs` and has not delivered. */
  beganMs(worker: number, givenMs: number): number {
    return Math.max(givenMs, this.#workers.get(worker)?.freeSinceMs ?? givenMs);
  }

  /** Rows a millisecond: measured; or the mean of the others. What a worker says of itself counts for nothing. */
  speedOf(worker: number): number {
    return this.#workers.get(worker)?.speed ?? this.#meanSpeed ?? 1;
  }

  /** Time that the worker needs for so many rows; undefined while nobody has delivered any. */
  expectedMs(worker: number, rows: number): number | undefined {
    return this.#meanSpeed === undefined ? undefined : rows / this.speedOf(worker);
  }

  #mean(): number | undefined {
    const speeds = [...this.#workers.values()].flatMap(({ speed }) => speed ?? []);
    return speeds.length === 0 ? undefined : speeds.reduce((sum, speed) => sum + speed) / speeds.length;
  }
}
