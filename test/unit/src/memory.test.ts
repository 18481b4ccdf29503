// The layout of one linear memory.
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { instantiateKernels } from '../../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../../src/kernels/load-kernels.ts';
import { MEMORY_LIMIT_BYTES, Memory, formatBytes, isOutOfMemory } from '../../../src/memory.ts';

describe('Memory', () => {
  it('Memory allocates aligned, zeroed regions one after the other', () => {
    const memory = new Memory();
    const start = memory.usedBytes;
    const addresses = [1, 64, 65, 4].map((byteLength) => memory.allocate(byteLength, 'tests'));
    expect(addresses).toEqual([start, start + 64, start + 128, start + 256]);
    expect(start % 64).toBe(0);
    expect(memory.usedBytes).toBe(start + 320);
    expect(memory.bytes(start, 320).every((byte) => byte === 0)).toBe(true);
  });

  it('Memory grows by whole pages, and only as needed', () => {
    const memory = new Memory();
    expect(memory.wasm.buffer.byteLength).toBe(65_536);
    const address = memory.allocate(100_000, 'tests');
    expect(memory.wasm.buffer.byteLength).toBe(2 * 65_536);
    memory.bytes(address, 100_000).fill(1);
    expect(memory.allocate(8, 'tests')).toBe(address + 100_032);
  });

  it('Memory keeps its contents when it grows', () => {
    const memory = new Memory();
    const address = memory.allocate(16, 'tests');
    memory.f32(address, 4).set([1, 2, 3, 4]);
    memory.allocate(1_000_000, 'tests');
    expect([...memory.f32(address, 4)]).toEqual([1, 2, 3, 4]);
  });

  it('Memory reads the same bytes as f32, f64, u32 and bytes', () => {
    const memory = new Memory();
    const address = memory.allocate(16, 'tests');
    memory.u32(address, 2).set([0, 0x3ff00000]);
    expect([...memory.f64(address, 1)]).toEqual([1]);
    expect([...memory.f32(address, 2)]).toEqual([0, 1.875]);
    expect([...memory.bytes(address, 8)]).toEqual([0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
  });

  it('Memory continues the layout of a memory that another thread began', () => {
    const first = new Memory();
    const address = first.allocate(100, 'tests');
    const second = new Memory(first.wasm);
    expect(second.usedBytes).toBe(first.usedBytes);
    expect(second.allocate(100, 'tests')).toBe(address + 128);
    expect(first.allocate(100, 'tests')).toBe(address + 256);
  });

  it('Memory leaves room for the tables that the kernels bring along', async () => {
    const memory = new Memory();
    const kernelModule = await loadKernelModule();
    const kernels = await instantiateKernels(kernelModule, memory.wasm);
    const start = memory.usedBytes;
    const tables = memory.bytes(0, start).slice();
    expect(tables.some((byte, i) => i >= 1024 && byte !== 0)).toBe(true);
    expect(memory.bytes(start, 65_536 - start).every((byte) => byte === 0)).toBe(true);
    const address = memory.allocate(60_000, 'tests');
    memory.bytes(address, 60_000).fill(0xff);
    await instantiateKernels(kernelModule, memory.wasm);
    expect(memory.bytes(address, 60_000).every((byte) => byte === 0xff)).toBe(true);
    expect(kernels.logF64(Math.E)).toBe(1);
  });

  it('Memory refuses an allocation that does not fit, names it, and stays usable', () => {
    const memory = new Memory();
    const used = formatBytes(memory.usedBytes);
    expect(() => memory.allocate(MEMORY_LIMIT_BYTES, 'the dataset')).toThrow(
      expect.objectContaining({
        code: 'E_MEMORY',
        exitCode: 1,
        message: `out of memory: 4.0 GiB for the dataset do not fit: ${used} of the 4 GiB that WebAssembly can address are in use`,
        help: 'use a smaller model, batch or dataset',
      }),
    );
    expect(memory.wasm.buffer.byteLength).toBe(65_536);
    expect(memory.allocate(8, 'tests')).toBe(memory.usedBytes - 64);
  });

  it('Memory names the addresses that it reserves where they are not there', () => {
    vi.spyOn(WebAssembly, 'Memory').mockImplementation(function () {
      throw new RangeError('could not allocate memory');
    });
    onTestFinished(() => void vi.restoreAllMocks());
    expect(() => new Memory()).toThrow(
      expect.objectContaining({
        code: 'E_MEMORY',
        message:
          'out of memory: the 4 GiB of addresses that WebAssembly takes are not there (could not allocate memory)',
        help: 'close other pages or programs, or raise the limit of the address space (ulimit -v)',
      }),
    );
  });

  it('Memory reports that the system has no more to give in words that are recognized as a lack of memory', () => {
    const memory = new Memory(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
    const message =
      'out of memory: 64.0 KiB for gradients do not fit: the system gives no more than the 0 B in use';
    expect(() => memory.allocate(65_537, 'gradients')).toThrow(message);
    expect(isOutOfMemory(message)).toBe(true);
    expect(isOutOfMemory('WebAssembly.Memory.grow(): Unable to grow instance memory')).toBe(true);
    expect(isOutOfMemory('memory access out of bounds')).toBe(false);
  });
});

describe('formatBytes', () => {
  it('formatBytes chooses the largest unit that leaves at least 1', () => {
    const sizes = [0, 1023, 1024, 1536, 1_048_576, 2 ** 32, 1.5 * 2 ** 50];
    expect(sizes.map(formatBytes)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.5 KiB',
      '1.0 MiB',
      '4.0 GiB',
      '1536.0 TiB',
    ]);
  });
});
