// The files of the kernels, read and compiled by Node.js.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import v8 from 'node:v8';
import { LockstepError } from '../errors.ts';
import { pairVectors, trialMemory, tryWidths, wantedWidth, type WidthTrial } from './kernel-width.ts';
import { instantiateKernels, noRelaxedSimd, requireSimd } from './kernels.ts';
import type { KernelModule, Kernels, Numerics } from './kernels.ts';

const HOST = `this Node.js (${process.version}, ${process.arch})`;

/**
 * Reads and compiles a build of the kernels.
 * @throws LockstepError where WebAssembly SIMD is missing, or for `fused` relaxed SIMD.
 */
export async function loadKernelModule(numerics: Numerics = 'strict'): Promise<KernelModule> {
  requireSimd(HOST, 'use Node.js 20.15 or newer on a 64-bit x86 or Arm machine');
  const bytes = await readFile(createRequire(import.meta.url).resolve(`#kernels-${numerics}.wasm`));
  if (numerics === 'fused') requireRelaxedSimd(bytes);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { numerics, ...(await compileForWidth(bytes)), sha256 };
}

/** The trial that 256-bit vectors failed in this process: V8's flag is one for all modules. */
let failedTrial: WidthTrial | undefined;

/** Compiles for 256-bit vectors where they are wanted and pass their trial, else for 128. */
async function compileForWidth(
  bytes: Uint8Array<ArrayBuffer>,
): Promise<Pick<KernelModule, 'module' | 'width' | 'isInexactAt256'>> {
  const wanted = wantedWidth(process.env, process);
  if (wanted !== 128 && !failedTrial) {
    pairVectors(true);
    // An empty section keeps V8 from reusing this code where the same bytes are compiled without pairs.
    const module = await WebAssembly.compile(Buffer.concat([bytes, Uint8Array.of(0, 2, 1, 0x77)]));
    const trial = await tryModule(module);
    if (trial.isExact && (trial.speedup > 1 || wanted === 256))
      return { module, width: 256, isInexactAt256: false };
    pairVectors(false);
    failedTrial = trial;
  }
  const isInexactAt256 = failedTrial?.isExact === false;
  return { module: await WebAssembly.compile(bytes), width: 128, isInexactAt256 };
}

async function tryModule(module: WebAssembly.Module): Promise<WidthTrial> {
  const memory = trialMemory();
  const [narrow, wide] = await Promise.all(
    ([128, 256] as const).map((width) => instantiateKernels({ module, width }, memory)),
  );
  return tryWidths(narrow as Kernels, wide as Kernels, memory);
}

/** Loads the fused build; undefined where this Node.js has no relaxed SIMD. */
export async function loadFusedModule(): Promise<KernelModule | undefined> {
  try {
    return await loadKernelModule('fused');
  } catch (error) {
    if (error instanceof LockstepError && error.code === 'E_NO_RELAXED_SIMD') return undefined;
    throw error;
  }
}

/** Node.js 20 has relaxed SIMD behind a flag of V8 that only a running program can set. */
function requireRelaxedSimd(fusedKernels: Uint8Array<ArrayBuffer>): void {
  if (WebAssembly.validate(fusedKernels)) return;
  v8.setFlagsFromString('--experimental-wasm-relaxed-simd');
  if (WebAssembly.validate(fusedKernels)) return;
  throw noRelaxedSimd(HOST, 'set numerics: strict, or use Node.js 22 or newer');
}
