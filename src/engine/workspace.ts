// The memory of one compute thread, as its layers lay it out: blocks that last
// through a microbatch, scratch that all layers share, and two error blocks that they
// use in turn. A workspace without memory only adds up what would be taken, so that a
// plan is exactly what is used.
import type { Workspace } from '../layers/layer.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';

/** f32 lengths of the memory that the layers of a thread take. */
export interface WorkspaceLengths {
  readonly activations: number;
  readonly scratch: number;
  /** Length of each of the two error blocks. */
  readonly error: number;
}

/** The most samples and shards of a microbatch. */
export interface MicrobatchLimits {
  readonly maxRows: number;
  readonly maxShards: number;
}

/** Blocks begin at multiples of this many f32: 64 bytes. */
const BLOCK = 16;

/** Memory that the blocks of a workspace are carved from. */
interface Room {
  readonly activations: number;
  readonly scratch: number;
  readonly errors: readonly [number, number];
}

interface Parts {
  readonly limits: MicrobatchLimits;
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly room: Room;
  readonly bounds: ShardBounds;
  /** Lengths asked for so far. */
  readonly taken: { activations: number; scratch: number; error: number };
}

/** The memory of one compute thread, as its layers lay it out. */
export class ThreadWorkspace implements Workspace {
  readonly packed: readonly number[];
  readonly #parts: Parts;

  private constructor(parts: Parts, packed: readonly number[]) {
    this.#parts = parts;
    this.packed = packed;
  }

  /** A workspace with memory for the lengths that a counting workspace found. */
  static allocate(
    kernels: Kernels,
    memory: Memory,
    packed: readonly number[],
    { lengths, ...limits }: MicrobatchLimits & { readonly lengths: WorkspaceLengths },
  ): ThreadWorkspace {
    const allocate = (length: number, purpose: string): number => memory.allocate(4 * length, purpose);
    const room: Room = {
      activations: allocate(lengths.activations, 'activations'),
      scratch: allocate(lengths.scratch, 'scratch'),
      errors: [allocate(lengths.error, 'activations'), allocate(lengths.error, 'activations')],
    };
    const taken = { activations: 0, scratch: 0, error: 0 };
    return new ThreadWorkspace(
      { limits, kernels, memory, room, taken, bounds: new ShardBounds(memory, limits) },
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

  get maxShards(): number {
    return this.#parts.limits.maxShards;
  }

  get bounds(): ShardBounds {
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
    // The counting workspace has seen it.
  }

  otherError(dY: number): number {
    const [first, second] = this.#parts.room.errors;
    return dY === first ? second : first;
  }

  shardBounds(scale: number): number {
    return this.#parts.bounds.address(scale);
  }

  nested(packed: readonly number[]): ThreadWorkspace {
    return new ThreadWorkspace(this.#parts, packed);
  }
}

/**
 * Finds the lengths that layers take, without any memory: all addresses are 0, and
 * nothing may be run on them.
 */
export class CountingWorkspace implements Workspace {
  readonly packed: readonly number[] = [];
  readonly maxRows: number;
  readonly maxShards: number;
  readonly lengths = { activations: 0, scratch: 0, error: 0 };

  constructor({ maxRows, maxShards }: MicrobatchLimits) {
    this.maxRows = maxRows;
    this.maxShards = maxShards;
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

  shardBounds(_scale: number): number {
    return 0;
  }

  nested(): this {
    return this;
  }
}

/** The bounds of a microbatch's shards, in rows of samples and in whatever else layers count. */
export class ShardBounds {
  readonly #memory: Memory;
  readonly #maxShards: number;
  readonly #addresses = new Map<number, number>();

  constructor(memory: Memory, { maxShards }: MicrobatchLimits) {
    this.#memory = memory;
    this.#maxShards = maxShards;
  }

  address(scale: number): number {
    const found = this.#addresses.get(scale);
    if (found !== undefined) return found;
    const address = this.#memory.allocate(4 * (this.#maxShards + 1), 'shard bounds');
    this.#addresses.set(scale, address);
    return address;
  }

  /** Writes the bounds of a microbatch at every scale. */
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
