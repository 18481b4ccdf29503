// Batch normalization: each feature of a vector, or each channel of an image, gets mean 0 and
// variance 1, then a learned gain and bias. In training the statistics are those of one shard, so
// that no shard needs another; the running ones, for evaluation, are sums over the shards that
// travel with the gradients.
import { z } from 'zod';
import type { Kernels } from '../kernels/kernels.ts';
import { formatShape, sizeOf } from '../shape.ts';
import type {
  InitialValues,
  Layer,
  LayerBuilder,
  LayerRunner,
  PackOptions,
  ParameterRole,
  ParameterTensor,
  Microbatch,
  Workspace,
} from './layer.ts';
import type { Shape } from '../shape.ts';
import { stackedSums, sumShards } from './shard-sums.ts';
import type { ShardSums } from './shard-sums.ts';

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

/** Batch normalization. */
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

  pack({ kernels, flat, packed, part }: PackOptions): void {
    if (part > 0) return;
    this.tensors.forEach(({ offset, length }, index) => {
      const [from, to] = [flat + 4 * offset, packed[index] as number];
      if (index < RUNNING_VARIANCE) kernels.copyValues(from, length, to);
      else kernels.reciprocalDeviations(from, length, this.spec.epsilon, to);
    });
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new BatchNormRunner(this, workspace);
  }
}

class BatchNormRunner implements LayerRunner {
  readonly #layer: BatchNormLayer;
  readonly #workspace: Workspace;
  readonly #y: number;
  /** Mean, variance and reciprocal deviation of each shard: [maxShards][3][channels]. */
  readonly #moments: number;
  readonly #slots: number;
  #x = 0;

  constructor(layer: BatchNormLayer, workspace: Workspace) {
    const { channels, size } = layer;
    this.#layer = layer;
    this.#workspace = workspace;
    this.#y = workspace.activations(workspace.maxRows * channels * size);
    this.#moments = workspace.activations(3 * workspace.maxShards * channels);
    this.#slots = workspace.scratch(stackedSums(workspace.maxShards) * 4 * channels)[0] as number;
  }

  forward(microbatch: Microbatch, x: number): number {
    this.#x = x;
    if (microbatch.isTraining) this.#forwardShards(microbatch, x);
    else this.#forwardRunning(microbatch, x);
    return this.#y;
  }

  #forwardShards(microbatch: Microbatch, x: number): void {
    const { channels, size, spec } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [gain, bias] = packed as [number, number];
    for (let shard = 0; shard + 1 < microbatch.bounds.length; shard++) {
      const start = microbatch.bounds[shard] as number;
      const rows = (microbatch.bounds[shard + 1] as number) - start;
      const at = 4 * start * channels * size;
      const { mean, variance, reciprocal } = this.#momentsOf(shard);
      kernels.channelMoments(x + at, rows, channels, size, mean, variance);
      kernels.reciprocalDeviations(variance, channels, spec.epsilon, reciprocal);
      // prettier-ignore
      kernels.batchNormForward(x + at, rows, channels, size, mean, reciprocal, gain, bias, this.#y + at);
    }
  }

  #forwardRunning({ rows }: Microbatch, x: number): void {
    const { channels, size } = this.#layer;
    const [gain, bias, mean, reciprocal] = this.#workspace.packed as [number, number, number, number];
    // prettier-ignore
    this.#workspace.kernels.batchNormForward(x, rows, channels, size, mean, reciprocal, gain, bias, this.#y);
  }

  backward(microbatch: Microbatch, dY: number): number {
    const { channels, tensors } = this.#layer;
    const { kernels } = this.#workspace;
    const sums: ShardSums = {
      destination: microbatch.gradient + 4 * (tensors[0] as ParameterTensor).offset,
      slots: this.#slots,
      length: 4 * channels,
    };
    let shard = 0;
    sumShards(kernels, microbatch, sums, (start, end, to) => {
      this.#backwardShard(kernels, { shard, start, rows: end - start, dY, to });
      shard++;
    });
    return dY;
  }

  /** Writes the shard's part of the flat vector to `to`, and its dX over its dY. */
  #backwardShard(
    kernels: Kernels,
    { shard, start, rows, dY, to }: { shard: number; start: number; rows: number; dY: number; to: number },
  ): void {
    const { channels, size } = this.#layer;
    const [gain] = this.#workspace.packed as [number];
    const { mean, variance, reciprocal } = this.#momentsOf(shard);
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

  #momentsOf(shard: number): { mean: number; variance: number; reciprocal: number } {
    const bytes = 4 * this.#layer.channels;
    const mean = this.#moments + 3 * shard * bytes;
    return { mean, variance: mean + bytes, reciprocal: mean + 2 * bytes };
  }
}
