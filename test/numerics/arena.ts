// Memory for kernel tests: regions with guard bytes around them, so that a store outside is noticed.
import { expect } from 'vitest';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import type { Kernels, Numerics } from '../../src/kernels/kernels.ts';
import type { KernelWidth } from '../../src/kernels/kernel-width.ts';
import { Memory } from '../../src/memory.ts';

const ARENA_BYTES = 64 * 2 ** 20;
const GUARD_BYTES = 64;
const GUARD = 0xa5;

type Data = Float32Array | Float64Array | Uint32Array | Uint8Array;

interface Region {
  readonly start: number;
  readonly end: number;
}

/** Kernels and memory that a test fills region by region and then `reset`s, which checks the guards. */
export class Arena {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly #start: number;
  #top: number;
  #regions: Region[] = [];

  private constructor(kernels: Kernels, memory: Memory) {
    this.kernels = kernels;
    this.memory = memory;
    this.#start = memory.allocate(ARENA_BYTES, 'tests');
    this.#top = this.#start;
  }

  static async create(numerics?: Numerics, width: KernelWidth = 128): Promise<Arena> {
    const memory = new Memory();
    const { module } = await loadKernelModule(numerics);
    return new Arena(await instantiateKernels({ module, width }, memory.wasm), memory);
  }

  /** The address of `byteLength` guarded bytes that hold NaN, so that a read before a write shows. */
  room(byteLength: number): number {
    const start = this.#top + GUARD_BYTES;
    const end = start + byteLength;
    this.#top = Math.ceil(end / GUARD_BYTES) * GUARD_BYTES;
    expect(this.#top + GUARD_BYTES).toBeLessThan(this.#start + ARENA_BYTES);
    this.memory.bytes(start - GUARD_BYTES, this.#top + 2 * GUARD_BYTES - start).fill(GUARD);
    this.memory.bytes(start, byteLength).fill(0xff);
    this.#regions.push({ start, end });
    return start;
  }

  put(data: Data): number {
    const address = this.room(data.byteLength);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.memory.bytes(address, data.byteLength).set(bytes);
    return address;
  }

  f32(address: number, length: number): Float32Array {
    return this.memory.f32(address, length).slice();
  }

  f64(address: number, length: number): Float64Array {
    return this.memory.f64(address, length).slice();
  }

  u32(address: number, length: number): Uint32Array {
    return this.memory.u32(address, length).slice();
  }

  /** Frees all regions after checking the bytes around each. */
  reset(): void {
    for (const [i, { end }] of this.#regions.entries()) {
      const next = this.#regions[i + 1]?.start ?? this.#top + GUARD_BYTES;
      const isIntact = this.memory.bytes(end, next - end).every((byte) => byte === GUARD);
      if (!isIntact) throw new Error(`a kernel wrote after region ${i}, which ends at byte ${end}`);
    }
    const [first] = this.#regions;
    if (first && !this.memory.bytes(this.#start, GUARD_BYTES).every((byte) => byte === GUARD)) {
      throw new Error('a kernel wrote before the first region');
    }
    this.#regions = [];
    this.#top = this.#start;
  }
}

/** Asserts equal bits: distinguishes -0 from 0, and treats all NaN values as equal. */
export function expectSameBits(actual: Float32Array, expected: ArrayLike<number>, what: string): void {
  const wanted = Float32Array.from(expected);
  expect(actual.length, what).toBe(wanted.length);
  const at = actual.findIndex((value, i) => !Object.is(value, wanted[i]));
  if (at >= 0) throw new Error(`${what}: element ${at} is ${actual[at]}, its twin says ${wanted[at]}`);
}
