// The compiled kernels: the two builds, instances of them, and the sizes of packed operands. The typed
// interface comes from the compiler's own bindings, which both builds share.
import { instantiate } from '#kernels';
import { LockstepError } from '../errors.ts';
import type { KernelWidth } from './kernel-width.ts';

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

/** @throws LockstepError where the host, which the message names, has no WebAssembly SIMD */
export function requireSimd(host: string, help: string): void {
  if (WebAssembly.validate(SIMD_PROBE)) return;
  const message = `${host} has no WebAssembly SIMD`;
  throw new LockstepError({ category: 'failure', code: 'E_NO_SIMD', message, help });
}

/** The error of a host, which the message names, that cannot run the fused build. */
export function noRelaxedSimd(host: string, help: string): LockstepError {
  const message = `${host} has no WebAssembly relaxed SIMD, which "numerics: fused" needs`;
  return new LockstepError({ category: 'failure', code: 'E_NO_RELAXED_SIMD', message, help });
}

/** Logs what the kernels compute with. */
export function reportWidth(
  { numerics, width, isInexactAt256 }: KernelModule,
  log: { info(line: string): void; warn(line: string): void },
): void {
  log.info(`${numerics} kernels with ${width}-bit vectors`);
  if (isInexactAt256) {
    log.warn(
      '256-bit vectors are not used, because they gave other bits here: please report the processor and the version of Node.js',
    );
  }
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
