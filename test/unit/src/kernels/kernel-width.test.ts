// The choice between vectors of 128 and of 256 bits, and the trial that it rests on.
import v8 from 'node:v8';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import * as kernelWidth from '../../../../src/kernels/kernel-width.ts';
import type { WidthTrial } from '../../../../src/kernels/kernel-width.ts';
import { instantiateKernels } from '../../../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../../../src/kernels/load-kernels.ts';
import type { Kernels } from '../../../../src/kernels/kernels.ts';

const { trialMemory, tryWidths, wantedWidth } = kernelWidth;

// The Node.js that runs the tests may not know the flags of this file, and prints so.
beforeEach(() => {
  const setFlags = v8.setFlagsFromString.bind(v8);
  vi.spyOn(v8, 'setFlagsFromString').mockImplementation((flag) => {
    if (flag.endsWith('relaxed-simd')) setFlags(flag);
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.doUnmock('../../../../src/kernels/kernel-width.ts');
  vi.resetModules();
});

describe('the wanted width', () => {
  const wanted = (value: string | undefined, version: string, arch = 'x64'): unknown =>
    wantedWidth({ LOCKSTEP_KERNEL_WIDTH: value }, { version, arch });

  it('the width is tried out only from Node.js 24 on, on x64', () => {
    expect(wanted(undefined, 'v24.0.0')).toBe('auto');
    expect(wanted('', 'v26.10.0')).toBe('auto');
    expect(wanted('auto', 'v100.0.0')).toBe('auto');
    for (const version of ['v20.15.0', 'v22.22.0']) expect(wanted(undefined, version)).toBe(128);
    expect(wanted('auto', 'v26.10.0', 'arm64')).toBe(128);
  });

  it('a width that is asked for is taken', () => {
    expect(wanted('128', 'v20.15.0')).toBe(128);
    expect(wanted('128', 'v26.10.0')).toBe(128);
    expect(wanted('256', 'v24.0.0')).toBe(256);
  });

  it.each([
    { value: '512', version: 'v26.10.0', choices: 'auto, 128, 256' },
    { value: '256', version: 'v22.2.0', choices: 'auto, 128' },
  ])('a width of $value is refused on Node.js $version', ({ value, version, choices }) => {
    const message = `LOCKSTEP_KERNEL_WIDTH is "${value}"; expected one of ${choices} (Node.js ${version}, x64)`;
    expect(() => wanted(value, version)).toThrow(
      expect.objectContaining({ category: 'usage', code: 'E_KERNEL_WIDTH', message }),
    );
  });
});

describe('a trial of widths', () => {
  async function instances(): Promise<[narrow: Kernels, wide: Kernels, memory: WebAssembly.Memory]> {
    const { module } = await loadKernelModule();
    const memory = trialMemory();
    const [narrow, wide] = await Promise.all([
      instantiateKernels({ module, width: 128 }, memory),
      instantiateKernels({ module, width: 256 }, memory),
    ]);
    return [narrow, wide, memory];
  }

  it('a trial finds that both widths give the same bits', async () => {
    expect(tryWidths(...(await instances())).isExact).toBe(true);
  });

  it('a trial notices one wrong bit in the last element of a product', async () => {
    const [narrow, wide, memory] = await instances();
    const gemmPacked: Kernels['gemmPacked'] = (...args) => {
      wide.gemmPacked(...args);
      new Uint8Array(memory.buffer, args[5] + 4 * args[0] * args[1] - 4, 1)[0]! ^= 1;
    };
    expect(tryWidths(narrow, { ...wide, gemmPacked }, memory).isExact).toBe(false);
  });
});

describe('loading the kernels', () => {
  /** Loads both builds where the trial of 256 bits has this result; V8's flag is only recorded. */
  async function loadAfter(
    trial: WidthTrial,
    wanted: 'auto' | 256 = 'auto',
  ): Promise<{ flags: boolean[]; modules: readonly { width: number; isInexactAt256: boolean }[] }> {
    const flags: boolean[] = [];
    vi.doMock('../../../../src/kernels/kernel-width.ts', () => ({
      ...kernelWidth,
      wantedWidth: () => wanted,
      pairVectors: (isOn: boolean) => flags.push(isOn),
      tryWidths: () => trial,
    }));
    vi.resetModules();
    const fresh = await import('../../../../src/kernels/load-kernels.ts');
    const loaded = [await fresh.loadKernelModule('strict'), await fresh.loadKernelModule('fused')];
    return { flags, modules: loaded.map(({ width, isInexactAt256 }) => ({ width, isInexactAt256 })) };
  }

  it('kernels whose 256-bit vectors are exact and faster use them', async () => {
    const { flags, modules } = await loadAfter({ isExact: true, speedup: 1.1 });
    expect(modules).toEqual(Array(2).fill({ width: 256, isInexactAt256: false }));
    expect(flags).toEqual([true, true]);
  });

  it('kernels whose 256-bit vectors are slower are compiled without them, and not tried again', async () => {
    const { flags, modules } = await loadAfter({ isExact: true, speedup: 0.9 });
    expect(modules).toEqual(Array(2).fill({ width: 128, isInexactAt256: false }));
    expect(flags).toEqual([true, false]);
  });

  it('256-bit vectors that are asked for are used even where they are slower', async () => {
    const { modules } = await loadAfter({ isExact: true, speedup: 0.9 }, 256);
    expect(modules).toEqual(Array(2).fill({ width: 256, isInexactAt256: false }));
  });

  it('kernels whose 256-bit vectors give other bits never use them', async () => {
    const { flags, modules } = await loadAfter({ isExact: false, speedup: 2 }, 256);
    expect(modules).toEqual(Array(2).fill({ width: 128, isInexactAt256: true }));
    expect(flags).toEqual([true, false]);
  });
});
