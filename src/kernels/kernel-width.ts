// The width of the vectors that the kernels compute with. WebAssembly's have 128 bits; from Node.js 24
// on, V8 can make two neighbouring operations one of 256 bits. That changes no bit of any result, and
// whether it works, and is faster, is tried where it is used.
import v8 from 'node:v8';
import { LockstepError, quoteValue } from '../errors.ts';

/** Bits of the vectors that a process computes with. */
export type KernelWidth = (typeof KERNEL_WIDTHS)[number];

export const KERNEL_WIDTHS = [128, 256] as const;
const VARIABLE = 'LOCKSTEP_KERNEL_WIDTH';
const WIDTHS = ['auto', ...KERNEL_WIDTHS] as const;

/**
 * The width that `LOCKSTEP_KERNEL_WIDTH` names; `auto`, the default, is for the faster one. Only V8 of
 * Node.js 24 and later knows how to pair vectors, on x64; an older one prints an error about the flag.
 * @throws LockstepError (exit 2) for a width that there is not
 */
export function wantedWidth(
  env: Readonly<Record<string, string | undefined>>,
  { version, arch }: { readonly version: string; readonly arch: string },
): KernelWidth | 'auto' {
  const wanted = env[VARIABLE] || 'auto';
  const choices = arch === 'x64' && Number.parseInt(version.slice(1), 10) >= 24 ? WIDTHS : WIDTHS.slice(0, 2);
  const choice = choices.find((width) => String(width) === wanted);
  if (choice === undefined) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_KERNEL_WIDTH',
      message: `${VARIABLE} is ${quoteValue(wanted)}; expected one of ${choices.join(', ')} (Node.js ${version}, ${arch})`,
      help: 'unset it for auto; 256 needs Node.js 24 or newer on x64',
    });
  }
  return choices.length === WIDTHS.length ? choice : 128;
}

/** Has V8 pair the vectors of modules that are compiled from now on, in all threads, or not. */
export function pairVectors(isOn: boolean): void {
  v8.setFlagsFromString(`--${isOn ? '' : 'no-'}experimental-wasm-revectorize`);
}

/** The kernel that a trial runs. */
interface Multiplier {
  gemmPacked(
    m: number,
    n: number,
    k: number,
    a: number,
    b: number,
    c: number,
    stride: number,
    tile: number,
  ): void;
}

/** The result of a trial of both widths. */
export interface WidthTrial {
  /** True if both gave the same bits. */
  readonly isExact: boolean;
  /** Time of 128 bits over that of 256. */
  readonly speedup: number;
}

/** The kernels' own tables lie below. */
const FIRST_BYTE = 8192;
/** One wide tile of C over two blocks of depth, so that a tile is both set and added to. */
const [ROWS, COLUMNS, DEPTH] = [5, 16, 800] as const;
/** Calls after which V8 has compiled both micro-kernels for speed: twice as many as its budget takes. */
const WARM_UP_CALLS = 100;
const TRIES = 9;
const CALLS_OF_TRY = 10;

/** Memory for a trial, and no more. */
export function trialMemory(): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
}

/** Multiplies with two instances over a `trialMemory`, one of each width: a few milliseconds. */
export function tryWidths(narrow: Multiplier, wide: Multiplier, { buffer }: WebAssembly.Memory): WidthTrial {
  const [left, right] = [FIRST_BYTE, FIRST_BYTE + 4 * ROWS * DEPTH];
  const [first, second, tile] = [0, 1, 2].map((index) => right + 4 * COLUMNS * (DEPTH + index * ROWS));
  const operands = new Float32Array((ROWS + COLUMNS) * DEPTH).map((_, i) => ((i * 7919) % 1009) / 1009 - 0.5);
  new Float32Array(buffer, left, operands.length).set(operands);
  const multiply = (kernels: Multiplier, c: number | undefined): void =>
    kernels.gemmPacked(ROWS, COLUMNS, DEPTH, left, right, c as number, COLUMNS, tile as number);
  const timed = (kernels: Multiplier, c: number | undefined): number => {
    const startedMs = performance.now();
    for (let call = 0; call < CALLS_OF_TRY; call++) multiply(kernels, c);
    return performance.now() - startedMs;
  };
  compileNow(() => {
    for (let call = 0; call < WARM_UP_CALLS; call++) {
      multiply(narrow, first);
      multiply(wide, second);
    }
  });
  const ratios = Array.from({ length: TRIES }, () => timed(narrow, first) / timed(wide, second));
  const speedup = ratios.sort((a, b) => a - b)[(TRIES - 1) / 2] as number;
  const result = (c: number | undefined): Buffer => Buffer.from(buffer, c, 4 * ROWS * COLUMNS);
  return { isExact: result(first).equals(result(second)), speedup };
}

/** Has V8 compile hot kernels in this thread, not some time later in another. */
function compileNow(warmUp: () => void): void {
  v8.setFlagsFromString('--wasm-sync-tier-up');
  warmUp();
  v8.setFlagsFromString('--no-wasm-sync-tier-up');
}
