// Windows of every kind for the tests of convolution and pooling: around the widths of vectors, with every
// option.
import type { Geometry } from '../helpers/twins/image.ts';
import { poolScratchLength } from '../../src/layers/pool-2d.ts';
import { resolveWindow } from '../../src/layers/window.ts';
import type { WindowOptions } from '../../src/layers/window.ts';
import type { LayerBuilder } from '../../src/layers/layer.ts';

export interface WindowCase {
  readonly name: string;
  readonly geometry: Geometry;
  /** The record of the kernels. */
  readonly record: Uint32Array;
  /** Values of a plane with its border. */
  readonly paddedLength: number;
  /** Values of the scratch of a pooling kernel. */
  readonly scratchLength: number;
}

type Sizes = Partial<WindowOptions> & { readonly height: number; readonly width: number };

/** A window on planes of [height, width]; by default 3 x 3, side by side, without padding. */
export function windowCase({ height, width, ...options }: Sizes): WindowCase {
  const window = { size: 3, stride: 1, padding: 0, dilation: 1, ...options };
  // No case is refused, so nothing of a builder is used.
  const resolved = resolveWindow(window, [1, height, width], {} as LayerBuilder);
  const { geometry, paddedLength } = resolved;
  const [, , kernelHeight = 0, kernelWidth = 0, strideY = 0, strideX = 0, padTop = 0, padLeft = 0] = geometry;
  const [dilationY = 0, dilationX = 0, outHeight = 0, outWidth = 0] = geometry.slice(8);
  return {
    name: `${height}x${width} ${JSON.stringify(window)}`,
    // prettier-ignore
    geometry: {
      height, width, kernelHeight, kernelWidth, strideY, strideX, padTop, padLeft, dilationY, dilationX, outHeight, outWidth,
    },
    record: Uint32Array.from(geometry),
    paddedLength,
    scratchLength: poolScratchLength(resolved),
  };
}

/**
 * Widths below, at and above one and two vectors, with and without a border; strides, dilations, odd windows.
 */
export const WINDOWS: readonly WindowCase[] = [
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17].map((width) =>
    windowCase({ height: 5, width, padding: 1 }),
  ),
  ...[1, 2, 3, 4, 5, 8].map((height) => windowCase({ height, width: 6, size: [1, 3], padding: [0, 1] })),
  windowCase({ height: 9, width: 11 }),
  windowCase({ height: 14, width: 14, padding: 'same' }),
  windowCase({ height: 7, width: 7, size: 1 }),
  windowCase({ height: 9, width: 9, size: [2, 4], padding: 'same' }),
  windowCase({ height: 9, width: 13, size: 5, padding: 2 }),
  windowCase({ height: 11, width: 13, stride: 2, padding: 1 }),
  windowCase({ height: 12, width: 12, stride: 2, padding: 'same' }),
  windowCase({ height: 11, width: 17, stride: [3, 2], padding: [1, 0] }),
  windowCase({ height: 10, width: 16, stride: 3 }),
  windowCase({ height: 10, width: 10, dilation: 2, padding: 2 }),
  windowCase({ height: 9, width: 15, dilation: [1, 3], padding: [2, 1], stride: [2, 1] }),
  windowCase({ height: 6, width: 6, size: 6 }),
  windowCase({ height: 5, width: 5, size: 2, stride: 4 }),
];
