// Builds of the kernels that a Node.js cannot run: the error, and what a worker offers there.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { loadKernelModule } from '../../../../src/kernels/load-kernels.ts';
import { loadKernelBuilds } from '../../../../worker/kernel-builds.ts';

const NODE = `this Node.js (${process.version}, ${process.arch})`;
const FUSED_FILE = createRequire(import.meta.url).resolve('#kernels-fused.wasm');

afterEach(() => {
  vi.restoreAllMocks();
});

/** The Node.js that runs the tests has all of SIMD, so it is made to refuse modules like one without. */
function refuseModules(isRefused: (bytes: Buffer) => boolean): void {
  const validate = WebAssembly.validate.bind(WebAssembly);
  vi.spyOn(WebAssembly, 'validate').mockImplementation(
    (bytes) => !isRefused(Buffer.from(bytes as Uint8Array)) && validate(bytes),
  );
}

function refuseRelaxedSimd(): void {
  const fused = fs.readFileSync(FUSED_FILE);
  refuseModules((bytes) => bytes.equals(fused));
}

describe('a Node.js without relaxed SIMD', () => {
  it('the fused kernels are refused with advice on a Node.js without relaxed SIMD', async () => {
    refuseRelaxedSimd();
    await expect(loadKernelModule('fused')).rejects.toMatchObject({
      category: 'failure',
      code: 'E_NO_RELAXED_SIMD',
      message: `${NODE} has no WebAssembly relaxed SIMD, which "numerics: fused" needs`,
      help: 'set numerics: strict, or use Node.js 22 or newer',
    });
  });

  it('a worker on a Node.js without relaxed SIMD offers only the strict kernels', async () => {
    const both = await loadKernelBuilds();
    expect([...both.modules.keys()]).toEqual(['strict', 'fused']);
    refuseRelaxedSimd();
    const { modules, identities } = await loadKernelBuilds();
    expect([...modules.keys()]).toEqual(['strict']);
    expect(identities).toEqual({ strict: both.identities.strict });
  });
});

describe('a Node.js without SIMD', () => {
  it('all kernels are refused with advice on a Node.js without SIMD', async () => {
    refuseModules(() => true);
    await expect(loadKernelModule()).rejects.toMatchObject({
      category: 'failure',
      code: 'E_NO_SIMD',
      message: `${NODE} has no WebAssembly SIMD`,
      help: 'use Node.js 20.15 or newer on a 64-bit x86 or Arm machine',
    });
    await expect(loadKernelBuilds()).rejects.toMatchObject({ code: 'E_NO_SIMD' });
  });
});
