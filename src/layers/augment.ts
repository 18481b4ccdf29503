// Augmentation of images: in training each is mirrored, moved and cropped at random; at evaluation, only
// the middle is cropped. What happens to a sample depends on (seed, layer, step, sample) alone.
import { z } from 'zod';
import { formatShape, sizeOf } from '../shape.ts';
import type { Layer, LayerBuilder, LayerRunner, Microbatch, Workspace } from './layer.ts';
import type { Shape } from '../shape.ts';

/** Directions in which images are mirrored, as the kernel has them. */
const FLIPS = { horizontal: 1, vertical: 2, both: 3 } as const;
const FLIP_NAMES = Object.keys(FLIPS) as (keyof typeof FLIPS)[];

const pixels = z.int().min(0).max(4096);
const side = z.int().min(1).max(4096);

export const augmentSchema = z.strictObject({
  kind: z.literal('augment'),
  flip: z
    .enum(FLIP_NAMES as [keyof typeof FLIPS])
    .optional()
    .describe('Mirrors half of the samples: left and right, top and bottom, or each'),
  shift: z
    .union([pixels, z.tuple([pixels, pixels])])
    .default(0)
    .describe('Pixels by which samples move at most, in each direction; zeros take their place'),
  crop: z
    .union([side, z.tuple([side, side])])
    .optional()
    .describe('Height and width that are cut out: anywhere in training, in the middle at evaluation'),
});

export type AugmentSpec = z.output<typeof augmentSchema>;

/** The augmentation of images, active in training only. */
export class AugmentLayer implements Layer {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly spec: AugmentSpec;
  /** Keys the layer's draws. */
  readonly index: number;
  readonly tensors = [];
  readonly packedLengths = [];

  constructor(spec: AugmentSpec, inputShape: Shape, builder: LayerBuilder) {
    const [channels, height, width] = inputShape;
    if (channels === undefined || height === undefined || width === undefined) {
      throw builder.refuse('augment takes images, [channels, height, width]');
    }
    if (builder.needsInputGradient) {
      throw builder.refuse(
        'samples are augmented as they are, not after layers that learn',
        'let augment come first',
      );
    }
    const [outHeight, outWidth] = pairOf(spec.crop ?? [height, width]);
    if (outHeight > height || outWidth > width) {
      throw builder.refuse(
        `a crop of ${outHeight}x${outWidth} is larger than an image of ${height}x${width}`,
      );
    }
    const [shiftY, shiftX] = pairOf(spec.shift);
    if (shiftY >= outHeight || shiftX >= outWidth) {
      throw builder.refuse(`a shift of ${shiftY}x${shiftX} moves images of ${outHeight}x${outWidth} away`);
    }
    this.spec = spec;
    this.inputShape = inputShape;
    this.outputShape = [channels, outHeight, outWidth];
    this.index = builder.index;
  }

  /** The first row and column of the middle; undefined where all of an image is taken. */
  get crop(): readonly [top: number, left: number] | undefined {
    const [, height = 0, width = 0] = this.inputShape;
    const [, outHeight = 0, outWidth = 0] = this.outputShape;
    if (outHeight === height && outWidth === width) return undefined;
    return [Math.floor((height - outHeight) / 2), Math.floor((width - outWidth) / 2)];
  }

  /** A crop is a module of PyTorch; what happens in training alone is none. */
  get numModules(): number {
    return this.crop ? 1 : 0;
  }

  describe(): string {
    const { flip, shift } = this.spec;
    const [shiftY, shiftX] = pairOf(shift);
    const parts = [
      ...(flip === undefined ? [] : [`flip ${flip}`]),
      ...(shiftY + shiftX === 0 ? [] : [`shift ${shiftY}x${shiftX}`]),
      ...(this.crop ? ['crop'] : []),
    ];
    const shapes = `${formatShape(this.inputShape)} -> ${formatShape(this.outputShape)}`;
    return ['augment', shapes, ...parts].join(' ');
  }

  pack(): void {
    // Nothing is learned here.
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new AugmentRunner(this, workspace);
  }
}

function pairOf(value: number | readonly [number, number]): readonly [number, number] {
  return typeof value === 'number' ? [value, value] : value;
}

/** f32 of the kernel's scratch: a block of random words. */
const BLOCK_LENGTH = 4;

class AugmentRunner implements LayerRunner {
  readonly #layer: AugmentLayer;
  readonly #workspace: Workspace;
  readonly #y: number;
  readonly #block: number;

  constructor(layer: AugmentLayer, workspace: Workspace) {
    const size = sizeOf(layer.outputShape);
    this.#layer = layer;
    this.#workspace = workspace;
    this.#y = workspace.activations(workspace.maxRows * size);
    this.#block = workspace.scratch(BLOCK_LENGTH)[0] as number;
  }

  forward({ isTraining, rows, sampleIndices, seed, step }: Microbatch, x: number): number {
    const { kernels } = this.#workspace;
    const { index, inputShape, outputShape, spec } = this.#layer;
    const [channels, height, width] = inputShape as [number, number, number];
    const [, outHeight, outWidth] = outputShape as [number, number, number];
    if (!isTraining && !this.#layer.crop) return x;
    if (!isTraining) {
      kernels.cropImages(x, rows, channels, height, width, outHeight, outWidth, this.#y);
      return this.#y;
    }
    const [shiftY, shiftX] = pairOf(spec.shift);
    kernels.augmentImages(
      x,
      rows,
      channels,
      height,
      width,
      outHeight,
      outWidth,
      spec.flip === undefined ? 0 : FLIPS[spec.flip],
      shiftY,
      shiftX,
      seed,
      index,
      step,
      sampleIndices,
      this.#block,
      this.#y,
    );
    return this.#y;
  }

  /** Nothing before it learns. */
  backward(): number {
    return 0;
  }
}
