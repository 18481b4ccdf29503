// The memory of one compute thread, as its layers lay it out: blocks that last through a pass, scratch that all
// layers share, and two error blocks that they use in turn. A site without memory only adds up what would be taken,
// so that a plan is exactly what is used.
import type { Site } from '../layers/layer.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';

/** f32 lengths of what the layers of a thread take. */
export interface SiteLengths {
  readonly activations: number;
  readonly scratch: number;
  /** Of each of the two error blocks. */
  readonly error: number;
}

/** Most samples and leaves of a pass. */
export interface PassLimits {
  readonly maxRows: number;
  readonly maxLeaves: number;
}

/** Blocks begin at multiples of this many f32: 64 bytes. */
const BLOCK = 16;

/** What the blocks of a site are carved from. */
interface Room {
  readonly activations: number;
  readonly scratch: number;
  readonly errors: readonly [number, number];
}

interface Parts {
  readonly limits: PassLimits;
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly room: Room;
  readonly bounds: LeafBounds;
  /** What was asked for so far. */
  readonly taken: { activations: number; scratch: number; error: number };
}

/** See the head of this file. */
export class ThreadSite implements Site {
  readonly packed: readonly number[];
  readonly #parts: Parts;

  private constructor(parts: Parts, packed: readonly number[]) {
    this.#parts = parts;
    this.packed = packed;
  }

  /** A site with memory for the lengths that a counting site found. */
  static allocate(
    kernels: Kernels,
    memory: Memory,
    packed: readonly number[],
    { lengths, ...limits }: PassLimits & { readonly lengths: SiteLengths },
  ): ThreadSite {
    const allocate = (length: number, purpose: string): number => memory.allocate(4 * length, purpose);
    const room: Room = {
      activations: allocate(lengths.activations, 'activations'),
      scratch: allocate(lengths.scratch, 'scratch'),
      errors: [allocate(lengths.error, 'activations'), allocate(lengths.error, 'activations')],
    };
    const taken = { activations: 0, scratch: 0, error: 0 };
    return new ThreadSite(
      { limits, kernels, memory, room, taken, bounds: new LeafBounds(memory, limits) },
      packed,
    );
  }

  get kernels(): Kernels {
    return this.#parts.kernels;
  }

  get memory(): Memory {
    return this.#parts.memory;
  }

  get maxRows(): number {
    return this.#parts.limits.maxRows;
  }

  get maxLeaves(): number {
    return this.#parts.limits.maxLeaves;
  }

  get bounds(): LeafBounds {
    return this.#parts.bounds;
  }

  activations(length: number): number {
    const { room, taken } = this.#parts;
    const address = room.activations + 4 * taken.activations;
    taken.activations += roundUp(length);
    return address;
  }

  scratch(...lengths: readonly number[]): number[] {
    let offset = 0;
    return lengths.map((length) => {
      const address = this.#parts.room.scratch + 4 * offset;
      offset += roundUp(length);
      return address;
    });
  }

  reserveError(_length: number): void {
    // The counting site has seen it.
  }

  otherError(dY: number): number {
    const [first, second] = this.#parts.room.errors;
    return dY === first ? second : first;
  }

  leafBounds(scale: number): number {
    return this.#parts.bounds.address(scale);
  }

  nested(packed: readonly number[]): ThreadSite {
    return new ThreadSite(this.#parts, packed);
  }
}

/** Finds the lengths that layers take, without any memory: all addresses are 0, and nothing may be run on them. */
export class CountingSite implements Site {
  readonly packed: readonly number[] = [];
  readonly maxRows: number;
  readonly maxLeaves: number;
  readonly lengths = { activations: 0, scratch: 0, error: 0 };

  constructor({ maxRows, maxLeaves }: PassLimits) {
    this.maxRows = maxRows;
    this.maxLeaves = maxLeaves;
  }

  get kernels(): Kernels {
    throw new Error('kernels were used while memory was planned');
  }

  get memory(): Memory {
    throw new Error('memory was used while it was planned');
  }

  activations(length: number): number {
    this.lengths.activations += roundUp(length);
    return 0;
  }

  scratch(...lengths: readonly number[]): number[] {
    const total = lengths.reduce((sum, length) => sum + roundUp(length), 0);
    this.lengths.scratch = Math.max(this.lengths.scratch, total);
    return lengths.map(() => 0);
  }

  reserveError(length: number): void {
    this.lengths.error = Math.max(this.lengths.error, roundUp(length));
  }

  otherError(_dY: number): number {
    return 0;
  }

  leafBounds(_scale: number): number {
    return 0;
  }

  nested(): this {
    return this;
  }
}

/** The bounds of a pass's leaves, in rows of samples and in whatever else layers count. */
export class LeafBounds {
  readonly #memory: Memory;
  readonly #maxLeaves: number;
  readonly #addresses = new Map<number, number>();

  constructor(memory: Memory, { maxLeaves }: PassLimits) {
    this.#memory = memory;
    this.#maxLeaves = maxLeaves;
  }

  address(scale: number): number {
    const found = this.#addresses.get(scale);
    if (found !== undefined) return found;
    const address = this.#memory.allocate(4 * (this.#maxLeaves + 1), 'shard bounds');
    this.#addresses.set(scale, address);
    return address;
  }

  /** Writes the bounds of a pass at every scale. */
  fill(bounds: Uint32Array): void {
    for (const [scale, address] of this.#addresses) {
      const scaled = this.#memory.u32(address, bounds.length);
      for (let i = 0; i < bounds.length; i++) scaled[i] = (bounds[i] as number) * scale;
    }
  }
}

function roundUp(length: number): number {
  return Math.ceil(length / BLOCK) * BLOCK;
}
