// A clock that leaves out the time during which this process was stopped. While it stands still (Ctrl-Z, a debugger, a machine that is overloaded) it
// hears nobody: what workers did meanwhile, it cannot know, and must not hold against them.

/** Longer between two readings is taken for a standstill; a running process reads its clock every few milliseconds. */
const STANDSTILL_MS = 1_000;

/** Monotonic milliseconds without standstills. To be read at least every `STANDSTILL_MS`. */
export class AwakeClock {
  readonly #read: () => number;
  #lastMs: number;
  #stoodStillMs = 0;

  /** `read`: monotonic milliseconds. */
  constructor(read = (): number => performance.now()) {
    this.#read = read;
    this.#lastMs = read();
  }

  now(): number {
    const readMs = this.#read();
    const gapMs = readMs - this.#lastMs;
    if (gapMs > STANDSTILL_MS) this.#stoodStillMs += gapMs;
    this.#lastMs = readMs;
    return readMs - this.#stoodStillMs;
  }
}
