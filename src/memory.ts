// One linear memory, shared by the threads of a process, with an allocator that never frees: what a run
// needs is laid out once, before its first step.
//
//   0         64        1024             8192                                              4 GiB
//   | unused  | top     | kernel tables  | regions, 64-byte aligned, in order of allocation  |
//               ^ atomic u32, in units of 64 bytes, so that any thread may allocate
//
// The kernel tables are the module's static data (log, exp and sine), written by each instantiation.
import { LockstepError } from './errors.ts';

const PAGE_BYTES = 65_536;
const MAX_PAGES = 65_536;
const ALIGNMENT = 64;
const TOP_INDEX = 16;
const FIRST_REGION = 8192;

/** The largest memory that 32-bit WebAssembly can address. */
export const MEMORY_LIMIT_BYTES = MAX_PAGES * PAGE_BYTES;

/**
 * Memories that were released. V8 frees one when it collects garbage, which the size of these memories does
 * not make it do: so they are taken again first.
 */
const spares: WeakRef<WebAssembly.Memory>[] = [];

/** Allocates regions of a WebAssembly memory. Addresses are byte offsets. */
export class Memory {
  readonly wasm: WebAssembly.Memory;

  /** Wraps `wasm`, which another thread has laid out, or makes a memory of its own. */
  constructor(wasm?: WebAssembly.Memory) {
    this.wasm = wasm ?? reserveMemory();
    if (!wasm) Atomics.store(this.#topWord(), TOP_INDEX, FIRST_REGION / ALIGNMENT);
  }

  /** A memory that was released, empty again, or a new one. */
  static takeSpare(): Memory {
    while (spares.length > 0) {
      const wasm = spares.pop()?.deref();
      if (!wasm) continue;
      const memory = new Memory(wasm);
      memory.bytes(FIRST_REGION, memory.usedBytes - FIRST_REGION).fill(0);
      Atomics.store(memory.#topWord(), TOP_INDEX, FIRST_REGION / ALIGNMENT);
      return memory;
    }
    return new Memory();
  }

  /** Gives the memory back: nothing may be read or written any more. */
  release(): void {
    spares.push(new WeakRef(this.wasm));
  }

  /**
   * Returns the address of `byteLength` fresh zero bytes, 64-byte aligned.
   * @throws LockstepError naming `purpose` where the 4 GiB do not suffice, or the system has no more to give.
   */
  allocate(byteLength: number, purpose: string): number {
    const units = Math.ceil(byteLength / ALIGNMENT);
    const start = this.usedBytes;
    const end = start + units * ALIGNMENT;
    if (end > MEMORY_LIMIT_BYTES || !this.#growTo(end)) throw outOfMemory(byteLength, purpose, start);
    const address = Atomics.add(this.#topWord(), TOP_INDEX, units) * ALIGNMENT;
    // Another thread may have allocated in between, so the end is checked again.
    if (!this.#growTo(address + units * ALIGNMENT)) throw outOfMemory(byteLength, purpose, address);
    return address;
  }

  /** Bytes allocated so far. */
  get usedBytes(): number {
    return Atomics.load(this.#topWord(), TOP_INDEX) * ALIGNMENT;
  }

  /** Views are made on use and never kept: the buffer is replaced when the memory grows. */
  f32(address: number, length: number): Float32Array {
    return new Float32Array(this.wasm.buffer, address, length);
  }

  f64(address: number, length: number): Float64Array {
    return new Float64Array(this.wasm.buffer, address, length);
  }

  u32(address: number, length: number): Uint32Array {
    return new Uint32Array(this.wasm.buffer, address, length);
  }

  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.wasm.buffer, address, length);
  }

  #topWord(): Int32Array {
    return new Int32Array(this.wasm.buffer, 0, TOP_INDEX + 1);
  }

  #growTo(byteLength: number): boolean {
    while (this.wasm.buffer.byteLength < byteLength) {
      if (byteLength > MEMORY_LIMIT_BYTES) return false;
      try {
        this.wasm.grow(Math.ceil((byteLength - this.wasm.buffer.byteLength) / PAGE_BYTES));
      } catch (error) {
        if (error instanceof RangeError) return false;
        throw error;
      }
    }
    return true;
  }
}

/** Reserves addresses alone, of which a browser or a limit of the process may leave too few. */
function reserveMemory(): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES, shared: true });
  } catch (error) {
    throw new LockstepError({
      category: 'failure',
      code: 'E_MEMORY',
      message: `out of memory: the 4 GiB of addresses that WebAssembly takes are not there (${(error as Error).message})`,
      help: 'close other pages or programs, or raise the limit of the address space (ulimit -v)',
    });
  }
}

function outOfMemory(byteLength: number, purpose: string, used: number): LockstepError {
  const reason =
    used + byteLength > MEMORY_LIMIT_BYTES
      ? `${formatBytes(used)} of the 4 GiB that WebAssembly can address are in use`
      : `the system gives no more than the ${formatBytes(used)} in use`;
  return new LockstepError({
    category: 'failure',
    code: 'E_MEMORY',
    message: `out of memory: ${formatBytes(byteLength)} for ${purpose} do not fit: ${reason}`,
    help: 'use a smaller model, batch or dataset',
  });
}

/** The words of the errors above, and of engines on all platforms, for a lack of memory. */
const OUT_OF_MEMORY = /out of memory|memory\.grow|could not allocate memory|array buffer allocation failed/i;

/** Tells whether an error with this text, of this process or another one, is about a lack of memory. */
export function isOutOfMemory(message: string): boolean {
  return OUT_OF_MEMORY.test(message);
}

/** Bytes in words: `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
