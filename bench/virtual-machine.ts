// The parts of machines in virtual time, which take what they are given one after the other: cores that
// threads share, threads, and the sending side of a connection.
import { Alarms } from './shaped-link.ts';
import type { Clock, Pipe } from './shaped-link.ts';

/** Bytes that a socket hands over at a time. */
const READ_BYTES = 64 * 1024;

/** Virtual time, and the cores that running threads share. */
export class VirtualTime implements Clock {
  readonly #cores: number;
  readonly #alarms = new Alarms();
  readonly #running = new Set<{ leftMs: number; readonly then: () => void }>();
  #nowMs = 0;
  /** The time up to which what is left of running work is known. */
  #knownMs = 0;
  #numPlans = 0;

  constructor(cores: number) {
    this.#cores = cores;
  }

  readonly nowMs = (): number => this.#nowMs;

  readonly at: Clock['at'] = (ms, call) => this.#alarms.add(Math.max(ms, this.#nowMs), call);

  /** Runs until nothing more happens. */
  run(): void {
    while (this.#alarms.nextMs < Infinity) {
      this.#nowMs = this.#alarms.nextMs;
      this.#alarms.ring();
    }
  }

  /** Starts work of a thread, which takes longer where others want the same cores. */
  start(ms: number, then: () => void): void {
    if (this.#cores === Infinity) return this.at(this.#nowMs + ms, then);
    this.#progress();
    this.#running.add({ leftMs: ms, then });
    this.#plan();
  }

  /** The share of a core that each running thread has. */
  get #share(): number {
    return Math.min(1, this.#cores / this.#running.size);
  }

  #progress(): void {
    const doneMs = (this.#nowMs - this.#knownMs) * this.#share;
    for (const work of this.#running) work.leftMs -= doneMs;
    this.#knownMs = this.#nowMs;
  }

  /** Awaits the next end, unless a start or another end comes first. */
  #plan(): void {
    const plan = ++this.#numPlans;
    if (this.#running.size === 0) return;
    const leastMs = Math.min(...[...this.#running].map(({ leftMs }) => leftMs));
    this.at(this.#nowMs + leastMs / this.#share, () => {
      if (plan !== this.#numPlans) return;
      this.#progress();
      const done = [...this.#running].filter(({ leftMs }) => leftMs <= leastMs * 1e-9 + 1e-9);
      for (const work of done) this.#running.delete(work);
      this.#plan();
      for (const { then } of done) then();
    });
  }
}

/** A thread, which does one thing at a time. */
export class Thread {
  readonly #time: VirtualTime;
  readonly #queue: { readonly ms: number; readonly then: () => void }[] = [];
  #isBusy = false;
  busyMs = 0;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  /** Does work after all that waits. */
  run(ms: number, then: () => void): void {
    this.#queue.push({ ms, then });
    this.#next();
  }

  /** Does work before all that waits, as the rest of what is ending now. */
  goOn(ms: number, then: () => void): void {
    this.#queue.unshift({ ms, then });
    this.#next();
  }

  #next(): void {
    if (this.#isBusy) return;
    const work = this.#queue.shift();
    if (!work) return;
    this.#isBusy = true;
    this.busyMs += work.ms;
    this.#time.start(work.ms, () => {
      work.then();
      this.#isBusy = false;
      this.#next();
    });
  }
}

/** One direction of a connection, as its sender uses it: messages wait until the link takes them. */
export class Flow {
  readonly #pipe: Pipe;
  readonly #waiting: { left: number; readonly arrived: () => void }[] = [];
  bytes = 0;

  constructor(pipe: Pipe) {
    this.#pipe = pipe;
  }

  send(bytes: number, arrived: () => void): void {
    this.bytes += bytes;
    this.#waiting.push({ left: bytes, arrived });
    this.#pump();
  }

  #pump(): void {
    for (let first = this.#waiting[0]; first && this.#pipe.hasRoom; first = this.#waiting[0]) {
      const message = first;
      const length = Math.min(message.left, READ_BYTES);
      message.left -= length;
      const isLast = message.left === 0;
      if (isLast) this.#waiting.shift();
      this.#pipe.send(length, (_start, end, free) => {
        free();
        if (isLast && end === length) message.arrived();
        this.#pump();
      });
    }
  }
}
