// Memory for partial sums that wait for their siblings: a slot is one bucket of one tree node.
import type { Memory } from '../../src/memory.ts';
import type { Model } from '../../src/model/model.ts';

interface Slot {
  readonly bucket: number;
  readonly address: number;
  lossSum: number;
}

/** Buffers by slot number. Freed ones are used again for buckets of the same length, so memory stops growing early. */
export class SumSlots {
  readonly #memory: Memory;
  readonly #model: Model;
  /** By length. */
  readonly #free = new Map<number, number[]>();
  readonly #slots = new Map<number, Slot>();

  constructor(memory: Memory, model: Model) {
    this.#memory = memory;
    this.#model = model;
  }

  /** An unused buffer for a bucket. */
  take(bucket: number): number {
    const length = this.#lengthOf(bucket);
    return this.#free.get(length)?.pop() ?? this.#memory.allocate(4 * length, 'sums of gradients');
  }

  /** Returns a buffer that got no slot, or whose slot is forgotten. */
  giveBack(bucket: number, address: number): void {
    const length = this.#lengthOf(bucket);
    const free = this.#free.get(length);
    if (free) free.push(address);
    else this.#free.set(length, [address]);
  }

  store(slot: number, bucket: number, address: number, lossSum: number): void {
    this.#slots.set(slot, { bucket, address, lossSum });
  }

  get(slot: number): Slot {
    const found = this.#slots.get(slot);
    if (!found) throw new RangeError(`no partial sum in slot ${slot}`);
    return found;
  }

  forget(slot: number): void {
    const { bucket, address } = this.get(slot);
    this.#slots.delete(slot);
    this.giveBack(bucket, address);
  }

  forgetAll(): void {
    for (const slot of [...this.#slots.keys()]) this.forget(slot);
  }

  #lengthOf(bucket: number): number {
    return this.#model.buckets[bucket]?.length ?? 0;
  }
}
