// A window that slides over the planes of an image: output sizes of a convolution or a pooling
// layer, and the record in which the kernels read them (assembly/convolution-geometry.ts).
import { z } from 'zod';
import type { Memory } from '../memory.ts';
import type { LayerBuilder } from './layer.ts';
import type { Shape } from '../shape.ts';

/** Layers refuse windows whose sizes exceed this, far above all that is useful. */
const MAX_SIZE = 4096;

/** One number for both directions, or [vertical, horizontal]. */
export function pairSchema(minimum: 0 | 1): z.ZodType<PairInput, PairInput> {
  const size = z.int().min(minimum).max(MAX_SIZE);
  return z.union([size, z.tuple([size, size])]);
}

type PairInput = number | [number, number];
type Pair = readonly [number, number];

/** The options of a window, as written in a config. */
export interface WindowOptions {
  readonly size: number | Pair;
  readonly stride: number | Pair;
  readonly padding: number | Pair | 'valid' | 'same';
  readonly dilation: number | Pair;
}

/** A window on planes of [height, width]. */
export interface Window {
  readonly channels: number;
  readonly size: Pair;
  /** Taps of the window. */
  readonly taps: number;
  readonly outHeight: number;
  readonly outWidth: number;
  /** Windows of a plane. */
  readonly positions: number;
  /** Values of an input plane, and of one with the border that windows reach into. */
  readonly planeLength: number;
  readonly paddedLength: number;
  /** The record of the kernels. */
  readonly geometry: readonly number[];
}

/** f32 of the record of the kernels. */
export const GEOMETRY_LENGTH = 14;

/** Resolves a window. @throws LockstepError where the input is no image, or smaller than the window. */
export function resolveWindow(options: WindowOptions, inputShape: Shape, builder: LayerBuilder): Window {
  const [channels, height, width] = imageShape(inputShape, builder);
  const size = pair(options.size);
  const vertical = resolveSide(options, 0, height);
  const horizontal = resolveSide(options, 1, width);
  if (vertical.out < 1 || horizontal.out < 1) {
    const [reachY, reachX] = [vertical.reach, horizontal.reach];
    const [spanY, spanX] = [vertical.span, horizontal.span];
    throw builder.refuse(
      `a window that reaches over ${reachY}x${reachX} values does not fit into ${spanY}x${spanX}, the padding included`,
      'use a smaller window, more padding, or fewer layers that shrink the image',
    );
  }
  return {
    channels,
    size,
    taps: size[0] * size[1],
    outHeight: vertical.out,
    outWidth: horizontal.out,
    positions: vertical.out * horizontal.out,
    planeLength: height * width,
    paddedLength: vertical.padded * horizontal.padded,
    // prettier-ignore
    geometry: [
      height, width, ...size, vertical.stride, horizontal.stride, vertical.before, horizontal.before,
      vertical.dilation, horizontal.dilation, vertical.out, horizontal.out, vertical.padded, horizontal.padded,
    ],
  };
}

/** Channels, height and width of an image. @throws LockstepError for another shape. */
export function imageShape(inputShape: Shape, builder: LayerBuilder): readonly [number, number, number] {
  const [channels, height, width] = inputShape;
  if (inputShape.length !== 3 || channels === undefined || height === undefined || width === undefined) {
    throw builder.refuse(
      'it needs images: [channels, height, width]',
      'put { kind: reshape, shape: [channels, height, width] } before it',
    );
  }
  return [channels, height, width];
}

/** Writes the record of the kernels. */
export function writeGeometry(memory: Memory, address: number, window: Window): void {
  memory.u32(address, GEOMETRY_LENGTH).set(window.geometry);
}

interface Side {
  readonly stride: number;
  readonly dilation: number;
  /** Zeros before the first value. */
  readonly before: number;
  /** Values from the first to the last tap of a window, and values that windows may reach. */
  readonly reach: number;
  readonly span: number;
  readonly out: number;
  /** Values that windows do reach, and the whole input in any case. */
  readonly padded: number;
}

function resolveSide(options: WindowOptions, side: 0 | 1, length: number): Side {
  const stride = pair(options.stride)[side];
  const dilation = pair(options.dilation)[side];
  const reach = (pair(options.size)[side] - 1) * dilation + 1;
  const { before, total } = resolvePadding(options.padding, side, { stride, reach, length });
  const span = length + total;
  const out = Math.floor((span - reach) / stride) + 1;
  const padded = Math.max(before + length, (out - 1) * stride + reach);
  return { stride, dilation, before, reach, span, out, padded };
}

/**
 * `same` gives ceil(length / stride) windows, an odd zero at the end: as PyTorch and TensorFlow for
 * stride 1, as the latter for others.
 */
function resolvePadding(
  padding: WindowOptions['padding'],
  side: 0 | 1,
  { stride, reach, length }: { stride: number; reach: number; length: number },
): { before: number; total: number } {
  if (padding === 'valid') return { before: 0, total: 0 };
  if (padding !== 'same') return { before: pair(padding)[side], total: 2 * pair(padding)[side] };
  const total = Math.max(0, (Math.ceil(length / stride) - 1) * stride + reach - length);
  return { before: Math.floor(total / 2), total };
}

function pair(value: number | Pair): Pair {
  return typeof value === 'number' ? [value, value] : value;
}
