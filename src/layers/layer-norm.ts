// Layer normalization over the last axis: each vector, or each position of a sequence, gets mean 0
// and variance 1, then a learned gain and bias.
import { z } from 'zod';
import { formatShape, sizeOf } from '../shape.ts';
import type {
  Layer,
  LayerBuilder,
  LayerRunner,
  PackOptions,
  ParameterTensor,
  Microbatch,
  Workspace,
} from './layer.ts';
import type { Shape } from '../shape.ts';
import { stackedSums } from './shard-sums.ts';

export const layerNormSchema = z.strictObject({
  kind: z.literal('layerNorm'),
  epsilon: z.number().positive().max(1).default(1e-5).describe('Added to the variance'),
});

export type LayerNormSpec = z.output<typeof layerNormSchema>;

/** Layer normalization. */
export class LayerNormLayer implements Layer {
  readonly inputShape: Shape;
  readonly spec: LayerNormSpec;
  readonly tensors: readonly [gain: ParameterTensor, bias: ParameterTensor];
  readonly numModules = 1;
  /** Values that are normalized together. */
  readonly columns: number;

  constructor(spec: LayerNormSpec, inputShape: Shape, builder: LayerBuilder) {
    if (inputShape.length > 2) {
      throw builder.refuse('layerNorm takes vectors or sequences', 'use batchNorm for images');
    }
    this.spec = spec;
    this.inputShape = inputShape;
    this.columns = inputShape.at(-1) as number;
    const shape = [this.columns];
    this.tensors = [
      builder.tensor({ name: 'weight', shape, role: 'norm', initial: { kind: 'constant', value: 1 } }),
      builder.tensor({ name: 'bias', shape, role: 'bias', initial: { kind: 'constant', value: 0 } }),
    ];
  }

  get outputShape(): Shape {
    return this.inputShape;
  }

  describe(): string {
    return `layerNorm ${formatShape(this.inputShape)}`;
  }

  /** Gain and bias. */
  get packedLengths(): number[] {
    return [this.columns, this.columns];
  }

  pack({ kernels, flat, packed, part }: PackOptions): void {
    if (part > 0) return;
    this.tensors.forEach(({ offset, length }, index) => {
      kernels.copyValues(flat + 4 * offset, length, packed[index] as number);
    });
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new LayerNormRunner(this, workspace);
  }
}

class LayerNormRunner implements LayerRunner {
  readonly #layer: LayerNormLayer;
  readonly #workspace: Workspace;
  readonly #rowsPerSample: number;
  readonly #y: number;
  /** Mean and reciprocal deviation of each row. */
  readonly #statistics: number;
  readonly #bounds: number;
  readonly #scratch: { products: number; sums: number };
  #x = 0;

  constructor(layer: LayerNormLayer, workspace: Workspace) {
    const size = sizeOf(layer.inputShape);
    this.#layer = layer;
    this.#workspace = workspace;
    this.#rowsPerSample = size / layer.columns;
    this.#y = workspace.activations(workspace.maxRows * size);
    this.#statistics = workspace.activations(2 * workspace.maxRows * this.#rowsPerSample);
    this.#bounds = workspace.shardBounds(this.#rowsPerSample);
    const [products = 0, sums = 0] = workspace.scratch(
      workspace.maxRows * size,
      stackedSums(workspace.maxShards) * layer.columns,
    );
    this.#scratch = { products, sums };
  }

  forward(microbatch: Microbatch, x: number): number {
    const { columns, spec } = this.#layer;
    const [gain, bias] = this.#workspace.packed as [number, number];
    const rows = microbatch.rows * this.#rowsPerSample;
    this.#x = x;
    // prettier-ignore
    this.#workspace.kernels.layerNormForward(x, gain, bias, rows, columns, spec.epsilon, this.#y, this.#statistics);
    return this.#y;
  }

  backward(microbatch: Microbatch, dY: number): number {
    const { kernels } = this.#workspace;
    const { columns, tensors } = this.#layer;
    const { products, sums } = this.#scratch;
    const [gain] = this.#workspace.packed as [number, number];
    const numShards = microbatch.bounds.length - 1;
    const [dGain, dBias] = tensors.map(({ offset }) => microbatch.gradient + 4 * offset) as [number, number];
    const rows = microbatch.rows * this.#rowsPerSample;
    kernels.columnSumTree(dY, columns, this.#bounds, numShards, dBias, sums);
    kernels.layerNormBackward(dY, this.#x, gain, rows, columns, this.#statistics, products);
    kernels.columnSumTree(products, columns, this.#bounds, numShards, dGain, sums);
    return dY;
  }
}
