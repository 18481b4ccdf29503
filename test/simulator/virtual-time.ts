// Time and chance in a simulation: events in the order of a virtual clock, and one seeded stream of all
// random draws.

interface Scheduled {
  readonly atMs: number;
  /** Position in the order of scheduling, which decides between two events at the same time. */
  readonly order: number;
  readonly action: () => void;
}

/** A binary heap of future events. */
export class VirtualClock {
  nowMs = 0;
  #heap: Scheduled[] = [];
  #numScheduled = 0;

  /** Schedules `action` after `delayMs`. */
  after(delayMs: number, action: () => void): void {
    const heap = this.#heap;
    const added = { atMs: this.nowMs + delayMs, order: this.#numScheduled++, action };
    let at = heap.push(added) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(added, heap[parent] as Scheduled)) break;
      heap[at] = heap[parent] as Scheduled;
      at = parent;
    }
    heap[at] = added;
  }

  /** Runs the next event; false if there is none. */
  step(): boolean {
    const heap = this.#heap;
    const [first] = heap;
    const last = heap.pop();
    if (!first || !last) return false;
    if (heap.length > 0) this.#sink(last);
    this.nowMs = first.atMs;
    first.action();
    return true;
  }

  /** Puts an event at the root, and lets it sink to its place. */
  #sink(moved: Scheduled): void {
    const heap = this.#heap;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      if (left >= heap.length) break;
      const isRight = right < heap.length && isBefore(heap[right] as Scheduled, heap[left] as Scheduled);
      const child = isRight ? right : left;
      if (!isBefore(heap[child] as Scheduled, moved)) break;
      heap[at] = heap[child] as Scheduled;
      at = child;
    }
    heap[at] = moved;
  }
}

function isBefore(a: Scheduled, b: Scheduled): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** Seeded draws (splitmix32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  readonly draw = (): number => {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  };

  /** True with this probability. */
  isLucky(probability: number): boolean {
    return this.draw() < probability;
  }

  between(low: number, high: number): number {
    return low + this.draw() * (high - low);
  }

  /** An integer, both ends included. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.draw() * (high - low + 1));
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.draw() * items.length)] as T;
  }
}
