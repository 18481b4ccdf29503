// A clock that leaves out the time during which this process was suspended (Ctrl-Z, a debugger, an
// overloaded machine): it heard nobody then, so that time does not count against workers.

/**
 * A longer gap between two readings counts as a suspension: a running process reads its clock every
 * few milliseconds.
 */
const SUSPENSION_MS = 1_000;

/** Monotonic milliseconds without suspensions, to be read at least every `SUSPENSION_MS`. */
export class AwakeClock {
  readonly #read: () => number;
  #lastMs: number;
  #suspendedMs = 0;

  /** `read`: monotonic milliseconds. */
  constructor(read = (): number => performance.now()) {
    this.#read = read;
    this.#lastMs = read();
  }

  now(): number {
    const readMs = this.#read();
    const gapMs = readMs - this.#lastMs;
    if (gapMs > SUSPENSION_MS) this.#suspendedMs += gapMs;
    this.#lastMs = readMs;
    return readMs - this.#suspendedMs;
  }
}
