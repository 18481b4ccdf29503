// Memory for partial sums that wait for their siblings: a slot is one piece of one tree node.
import type { Memory } from '../src/memory.ts';
import type { Model } from '../src/model/model.ts';

interface Slot {
  readonly piece: number;
  readonly address: number;
  lossSum: number;
}

/** Buffers by slot number. Freed ones are used again for the same piece, so memory stops growing early. */
export class SumSlots {
  readonly #memory: Memory;
  readonly #model: Model;
  readonly #free = new Map<number, number[]>();
  readonly #slots = new Map<number, Slot>();

  constructor(memory: Memory, model: Model) {
    this.#memory = memory;
    this.#model = model;
  }

  /** An unused buffer for a piece. */
  take(piece: number): number {
    const free = this.#free.get(piece)?.pop();
    return free ?? this.#memory.allocate(4 * (this.#model.pieces[piece]?.length ?? 0), 'sums of gradients');
  }

  /** Returns a buffer that got no slot, or whose slot is forgotten. */
  giveBack(piece: number, address: number): void {
    const free = this.#free.get(piece);
    if (free) free.push(address);
    else this.#free.set(piece, [address]);
  }

  store(slot: number, piece: number, address: number, lossSum: number): void {
    this.#slots.set(slot, { piece, address, lossSum });
  }

  get(slot: number): Slot {
    const found = this.#slots.get(slot);
    if (!found) throw new RangeError(`no partial sum in slot ${slot}`);
    return found;
  }

  forget(slot: number): void {
    const { piece, address } = this.get(slot);
    this.#slots.delete(slot);
    this.giveBack(piece, address);
  }

  forgetAll(): void {
    for (const slot of [...this.#slots.keys()]) this.forget(slot);
  }
}
