// Batch normalization: each feature of a vector, or each channel of an image, gets mean 0 and variance 1, then a learned
// gain and bias. In training the statistics are those of one leaf (a shard), so that no shard needs another; the running
// ones, for evaluation, are sums over the leaves that travel with the gradients.
import { z } from 'zod';
import type { Kernels } from '../kernels/kernels.ts';
import { formatShape, sizeOf } from './layer.ts';
import type {
  InitialValues,
  Layer,
  LayerBuilder,
  LayerRunner,
  PackJob,
  ParameterRole,
  ParameterTensor,
  Pass,
  Shape,
  Site,
} from './layer.ts';
import { stackedSums, sumLeaves } from './leaf-sums.ts';
import type { LeafSums } from './leaf-sums.ts';

export const batchNormSchema = z.strictObject({
  kind: z.literal('batchNorm'),
  momentum: z
    .number()
    .positive()
    .max(1)
    .default(0.1)
    .describe("Share of a batch's statistics in the running ones"),
  epsilon: z.number().positive().max(1).default(1e-5).describe('Added to the variance'),
});

export type BatchNormSpec = z.output<typeof batchNormSchema>;

/** Place of the running variance among the tensors. */
const RUNNING_VARIANCE = 3;

/** See the head of this file. */
export class BatchNormLayer implements Layer {
  readonly inputShape: Shape;
  readonly spec: BatchNormSpec;
  readonly channels: number;
  /** Values of a channel in one sample. */
  readonly size: number;
  /** Gain, bias, running mean and running variance, one after the other in the flat vector. */
  readonly tensors: readonly ParameterTensor[];
  readonly numModules = 1;

  constructor(spec: BatchNormSpec, inputShape: Shape, builder: LayerBuilder) {
    if (inputShape.length === 2) {
      throw builder.refuse('batchNorm takes vectors or images', 'use layerNorm for sequences');
    }
    this.spec = spec;
    this.inputShape = inputShape;
    this.channels = inputShape[0] as number;
    this.size = sizeOf(inputShape) / this.channels;
    const tensor = (name: string, role: ParameterRole, value: number): ParameterTensor => {
      const initial: InitialValues = { kind: 'constant', value };
      const statistic =
        role === 'statistic' ? { momentum: spec.momentum, valuesPerSample: this.size } : undefined;
      return builder.tensor({ name, shape: [this.channels], role, initial, ...statistic });
    };
    this.tensors = [
      tensor('weight', 'norm', 1),
      tensor('bias', 'bias', 0),
      tensor('running_mean', 'statistic', 0),
      tensor('running_var', 'statistic', 1),
    ];
  }

  get outputShape(): Shape {
    return this.inputShape;
  }

  describe(): string {
    return `batchNorm ${formatShape(this.inputShape)}`;
  }

  /** Gain, bias, running mean, and the reciprocal of the running deviation. */
  get packedLengths(): number[] {
    return this.tensors.map(({ length }) => length);
  }

  pack({ kernels, flat, packed, part }: PackJob): void {
    if (part > 0) return;
    this.tensors.forEach(({ offset, length }, index) => {
      const [from, to] = [flat + 4 * offset, packed[index] as number];
      if (index < RUNNING_VARIANCE) kernels.copyValues(from, length, to);
      else kernels.reciprocalDeviations(from, length, this.spec.epsilon, to);
    });
  }

  createRunner(site: Site): LayerRunner {
    return new BatchNormRunner(this, site);
  }
}

class BatchNormRunner implements LayerRunner {
  readonly #layer: BatchNormLayer;
  readonly #site: Site;
  readonly #y: number;
  /** Mean, variance and reciprocal deviation of each leaf: [maxLeaves][3][channels]. */
  readonly #moments: number;
  readonly #slots: number;
  #x = 0;

  constructor(layer: BatchNormLayer, site: Site) {
    const { channels, size } = layer;
    this.#layer = layer;
    this.#site = site;
    this.#y = site.activations(site.maxRows * channels * size);
    this.#moments = site.activations(3 * site.maxLeaves * channels);
    this.#slots = site.scratch(stackedSums(site.maxLeaves) * 4 * channels)[0] as number;
  }

  forward(pass: Pass, x: number): number {
    this.#x = x;
    if (pass.isTraining) this.#forwardLeaves(pass, x);
    else this.#forwardRunning(pass, x);
    return this.#y;
  }

  #forwardLeaves(pass: Pass, x: number): void {
    const { channels, size, spec } = this.#layer;
    const { kernels, packed } = this.#site;
    const [gain, bias] = packed as [number, number];
    for (let leaf = 0; leaf + 1 < pass.bounds.length; leaf++) {
      const start = pass.bounds[leaf] as number;
      const rows = (pass.bounds[leaf + 1] as number) - start;
      const at = 4 * start * channels * size;
      const { mean, variance, reciprocal } = this.#momentsOf(leaf);
      kernels.channelMoments(x + at, rows, channels, size, mean, variance);
      kernels.reciprocalDeviations(variance, channels, spec.epsilon, reciprocal);
      // prettier-ignore
      kernels.batchNormForward(x + at, rows, channels, size, mean, reciprocal, gain, bias, this.#y + at);
    }
  }

  #forwardRunning({ rows }: Pass, x: number): void {
    const { channels, size } = this.#layer;
    const [gain, bias, mean, reciprocal] = this.#site.packed as [number, number, number, number];
    // prettier-ignore
    this.#site.kernels.batchNormForward(x, rows, channels, size, mean, reciprocal, gain, bias, this.#y);
  }

  backward(pass: Pass, dY: number): number {
    const { channels, tensors } = this.#layer;
    const { kernels } = this.#site;
    const sums: LeafSums = {
      destination: pass.gradient + 4 * (tensors[0] as ParameterTensor).offset,
      slots: this.#slots,
      length: 4 * channels,
    };
    let leaf = 0;
    sumLeaves(kernels, pass, sums, (start, end, to) => {
      this.#backwardLeaf(kernels, { leaf, start, rows: end - start, dY, to });
      leaf++;
    });
    return dY;
  }

  /** Writes the leaf's part of the flat vector to `to`, and its dX over its dY. */
  #backwardLeaf(
    kernels: Kernels,
    { leaf, start, rows, dY, to }: { leaf: number; start: number; rows: number; dY: number; to: number },
  ): void {
    const { channels, size } = this.#layer;
    const [gain] = this.#site.packed as [number];
    const { mean, variance, reciprocal } = this.#momentsOf(leaf);
    const at = 4 * start * channels * size;
    const [dGain, dBias, means, variances] = [0, 1, 2, 3].map((index) => to + 4 * index * channels) as [
      number,
      number,
      number,
      number,
    ];
    const [d, x] = [dY + at, this.#x + at];
    kernels.weighMoments(mean, variance, rows, channels, size, means, variances);
    kernels.batchNormParameterGradients(d, x, rows, channels, size, mean, reciprocal, dGain, dBias);
    kernels.batchNormInputGradient(d, x, rows, channels, size, mean, reciprocal, gain, dGain, dBias);
  }

  #momentsOf(leaf: number): { mean: number; variance: number; reciprocal: number } {
    const bytes = 4 * this.#layer.channels;
    const mean = this.#moments + 3 * leaf * bytes;
    return { mean, variance: mean + bytes, reciprocal: mean + 2 * bytes };
  }
}
