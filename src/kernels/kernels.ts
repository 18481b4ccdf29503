// The compiled kernels: the two builds, their loading, and the sizes of packed operands. The typed
// interface comes from the compiler's own bindings, which both builds share.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import v8 from 'node:v8';
import { instantiate } from '#kernels';
import { LockstepError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { pairVectors, trialMemory, tryWidths, wantedWidth } from './kernel-width.ts';
import type { KernelWidth, WidthTrial } from './kernel-width.ts';

/** `strict` rounds a product before it is added, `fused` rounds once; see docs/numerics.md. */
export const NUMERICS = ['strict', 'fused'] as const;

/** One of `NUMERICS`. */
export type Numerics = (typeof NUMERICS)[number];

/** The kernels' functions, bound to one memory. */
export type Kernels = Awaited<ReturnType<typeof instantiate>>;

/** One build of the kernels, compiled, and the SHA-256 of its file: equal hashes mean equal bits. */
export interface KernelModule {
  readonly numerics: Numerics;
  readonly module: WebAssembly.Module;
  /** Bits of the vectors that its instances compute with. No result depends on it. */
  readonly width: KernelWidth;
  /** True if 256-bit vectors were given up because they gave other bits: a fault of V8 or the processor. */
  readonly isInexactAt256: boolean;
  readonly sha256: string;
}

/** The smallest module that uses a SIMD instruction: () -> v128, splatting an i32. */
const SIMD_PROBE = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 17, 11],
);

/**
 * Reads and compiles a build of the kernels.
 * @throws LockstepError where WebAssembly SIMD is missing, or for `fused` relaxed SIMD.
 */
export async function loadKernelModule(numerics: Numerics = 'strict'): Promise<KernelModule> {
  if (!WebAssembly.validate(SIMD_PROBE)) {
    throw new LockstepError({
      category: 'failure',
      code: 'E_NO_SIMD',
      message: `this Node.js (${process.version}, ${process.arch}) has no WebAssembly SIMD`,
      help: 'use Node.js 20.15 or newer on a 64-bit x86 or Arm machine',
    });
  }
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

/** Logs what the kernels compute with. */
export function reportWidth({ numerics, width, isInexactAt256 }: KernelModule, log: Logger): void {
  log.info(`${numerics} kernels with ${width}-bit vectors`);
  if (isInexactAt256) {
    log.warn(
      '256-bit vectors are not used, because they gave other bits here: please report the processor and the version of Node.js',
    );
  }
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
  throw new LockstepError({
    category: 'failure',
    code: 'E_NO_RELAXED_SIMD',
    message: `this Node.js (${process.version}, ${process.arch}) has no WebAssembly relaxed SIMD, which "numerics: fused" needs`,
    help: 'set numerics: strict, or use Node.js 22 or newer',
  });
}

/** Binds the kernels to a memory; every thread of a process binds its own instance to the shared one. */
export function instantiateKernels(
  { module, width }: Pick<KernelModule, 'module' | 'width'>,
  memory: WebAssembly.Memory,
): Promise<Kernels> {
  return instantiate(module, { env: { memory, wide: width === 256 ? 1 : 0 } });
}

/**
 * Rows of C in the register tile of the GEMM kernel (assembly/tile.ts): the width of the panels
 * of packed left operands.
 */
export const TILE_ROWS = 5;
/** Columns of C in a tile: the width of the panels of packed right operands. */
export const TILE_COLUMNS = 8;

/** f32 of a packed left operand of `rows` rows and depth `depth`. */
export function packedLeftLength(rows: number, depth: number): number {
  return Math.ceil(rows / TILE_ROWS) * TILE_ROWS * depth;
}

/** f32 of a packed right operand of depth `depth` and `columns` columns. */
export function packedRightLength(depth: number, columns: number): number {
  return Math.ceil(columns / TILE_COLUMNS) * TILE_COLUMNS * depth;
}

/** f32 of one register tile of two panels, the scratch of a product. */
export const TILE_LENGTH = 2 * TILE_ROWS * TILE_COLUMNS;

/** f32 of scratch for the tree product's stack of register tiles: enough for 2048 shards. */
export const TREE_TILES_LENGTH = 12 * TILE_LENGTH;
