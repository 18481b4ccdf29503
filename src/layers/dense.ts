// Fully connected: y = f(x W^T + b). Letters: B rows, I inputs, O outputs.
import { z } from 'zod';
import {
  TILE_COLUMNS,
  TILE_ROWS,
  TREE_TILES_LENGTH,
  packedLeftLength,
  packedRightLength,
} from '../kernels/tile.ts';
import { ACTIVATIONS, activationNumber } from './activation.ts';
import { INITIALIZERS, defaultInitializer, initialValues } from './initializer.ts';
import { formatShape, sizeOf } from './layer.ts';
import type {
  Layer,
  LayerBuilder,
  LayerRunner,
  PackJob,
  ParameterTensor,
  Pass,
  Shape,
  Site,
} from './layer.ts';
import { stackedSums } from './leaf-sums.ts';

export const denseSchema = z.strictObject({
  kind: z.literal('dense'),
  units: z.int().min(1).max(1_048_576).describe('Outputs of the layer'),
  activation: z.enum(ACTIVATIONS).default('linear').describe('Applied to every output of the layer'),
  bias: z.boolean().default(true).describe('Whether each unit adds a learned constant'),
  initializer: z
    .enum(INITIALIZERS)
    .optional()
    .describe('Default: heUniform before relu and leakyRelu, glorotUniform otherwise'),
});

export type DenseSpec = z.output<typeof denseSchema>;

/** See the head of this file. Of [positions, features] each position is a row; an image is taken as one flat row. */
export class DenseLayer implements Layer {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly needsInputGradient: boolean;
  readonly spec: DenseSpec;
  readonly inputs: number;
  readonly outputs: number;
  /** Matrix rows of one sample. */
  readonly rowsPerSample: number;
  readonly weight: ParameterTensor;
  readonly bias: ParameterTensor | undefined;

  constructor(spec: DenseSpec, inputShape: Shape, builder: LayerBuilder) {
    const isSequence = inputShape.length === 2;
    this.spec = spec;
    this.inputShape = inputShape;
    this.needsInputGradient = builder.needsInputGradient;
    this.rowsPerSample = isSequence ? (inputShape[0] as number) : 1;
    this.inputs = sizeOf(inputShape) / this.rowsPerSample;
    this.outputs = spec.units;
    this.outputShape = isSequence ? [this.rowsPerSample, spec.units] : [spec.units];
    const initializer = spec.initializer ?? defaultInitializer(spec.activation);
    this.weight = builder.tensor({
      name: 'weight',
      shape: [spec.units, this.inputs],
      role: 'weight',
      initial: initialValues(initializer, { fanIn: this.inputs, fanOut: this.outputs }),
    });
    this.bias = spec.bias
      ? builder.tensor({
          name: 'bias',
          shape: [spec.units],
          role: 'bias',
          initial: { kind: 'constant', value: 0 },
        })
      : undefined;
  }

  get tensors(): ParameterTensor[] {
    return this.bias ? [this.weight, this.bias] : [this.weight];
  }

  get numModules(): number {
    return this.spec.activation === 'linear' ? 1 : 2;
  }

  describe(): string {
    const activation = this.spec.activation === 'linear' ? '' : ` ${this.spec.activation}`;
    return `dense ${formatShape(this.inputShape)} -> ${formatShape(this.outputShape)}${activation}`;
  }

  /** Panels of W^T for y, panels of W for dX, and the bias, zeros without one. */
  get packedLengths(): number[] {
    const { inputs, outputs, needsInputGradient } = this;
    const backward = needsInputGradient ? packedRightLength(outputs, inputs) : 0;
    return [packedRightLength(inputs, outputs), backward, outputs];
  }

  pack({ kernels, memory, flat, packed, part, numParts }: PackJob): void {
    const [forward, backward, biases] = packed as [number, number, number];
    const { inputs, outputs, weight, bias } = this;
    const source = flat + 4 * weight.offset;
    const share = (length: number): [number, number] => {
      const panels = Math.ceil(length / TILE_COLUMNS);
      return [Math.floor((panels * part) / numParts), Math.floor((panels * (part + 1)) / numParts)];
    };
    kernels.packRightRows(source, outputs, inputs, inputs, forward, ...share(outputs));
    if (this.needsInputGradient)
      kernels.packRightColumns(source, inputs, outputs, inputs, backward, ...share(inputs));
    if (bias && part === 0) memory.f32(biases, outputs).set(memory.f32(flat + 4 * bias.offset, outputs));
  }

  createRunner(site: Site): LayerRunner {
    return new DenseRunner(this, site);
  }
}

class DenseRunner implements LayerRunner {
  readonly #layer: DenseLayer;
  readonly #site: Site;
  readonly #activation: number;
  readonly #y: number;
  readonly #bounds: number;
  /** Packed operands, register tiles of the tree product, partial sums of the bias. */
  readonly #scratch: { left: number; right: number; tiles: number; biasSums: number };
  #x = 0;

  constructor(layer: DenseLayer, site: Site) {
    const { inputs, outputs, rowsPerSample } = layer;
    const rows = site.maxRows * rowsPerSample;
    this.#layer = layer;
    this.#site = site;
    this.#activation = activationNumber(layer.spec.activation);
    this.#y = site.activations(rows * outputs);
    const [left = 0, right = 0, tiles = 0, biasSums = 0] = site.scratch(
      Math.max(packedLeftLength(rows, Math.max(inputs, outputs)), packedLeftLength(outputs, rows)),
      packedRightLength(rows, inputs),
      TREE_TILES_LENGTH,
      stackedSums(site.maxLeaves) * outputs,
    );
    this.#scratch = { left, right, tiles, biasSums };
    this.#bounds = site.leafBounds(rowsPerSample);
    if (layer.needsInputGradient) site.reserveError(rows * inputs);
  }

  forward(pass: Pass, x: number): number {
    const { inputs, outputs, rowsPerSample } = this.#layer;
    const { kernels, packed } = this.#site;
    const { left, tiles } = this.#scratch;
    const [panels, , biases] = packed as [number, number, number];
    const rows = pass.rows * rowsPerSample;
    this.#x = x;
    kernels.packLeftRows(x, rows, inputs, inputs, left);
    kernels.gemmPacked(rows, outputs, inputs, left, panels, this.#y, outputs, tiles);
    kernels.biasActivationForward(this.#activation, this.#y, biases, rows, outputs);
    return this.#y;
  }

  backward(pass: Pass, dY: number): number {
    const { outputs, rowsPerSample, bias, needsInputGradient } = this.#layer;
    const { kernels } = this.#site;
    const rows = pass.rows * rowsPerSample;
    const numLeaves = pass.bounds.length - 1;
    kernels.activationBackward(this.#activation, dY, this.#y, rows * outputs);
    if (bias) {
      const db = pass.gradient + 4 * bias.offset;
      kernels.columnSumTree(dY, outputs, this.#bounds, numLeaves, db, this.#scratch.biasSums);
    }
    this.#weightGradient(pass, dY);
    return needsInputGradient ? this.#inputGradient(dY, rows) : 0;
  }

  /** dW[O, I] = dY^T x, the last rows first, a piece of the flat vector at a time: it can travel while the rest is computed. */
  #weightGradient(pass: Pass, dY: number): void {
    const { inputs, outputs, rowsPerSample, weight } = this.#layer;
    const { kernels } = this.#site;
    const { left, right, tiles } = this.#scratch;
    const rows = pass.rows * rowsPerSample;
    kernels.packLeftColumns(dY, outputs, rows, outputs, left);
    kernels.packRightColumns(this.#x, inputs, rows, inputs, right, 0, Math.ceil(inputs / TILE_COLUMNS));
    for (let end = outputs; end > 0;) {
      const start = this.#firstRow(pass, end);
      const panels = left + 4 * packedLeftLength(start, rows);
      const dW = weight.offset + start * inputs;
      const to = pass.gradient + 4 * dW;
      const numLeaves = pass.bounds.length - 1;
      // prettier-ignore
      kernels.gemmPackedTree(end - start, inputs, rows, panels, right, to, inputs, this.#bounds, numLeaves, tiles);
      pass.complete(dW);
      end = start;
    }
  }

  /** The row, at the start of a tile, from which rows up to `end` complete a piece. */
  #firstRow(pass: Pass, end: number): number {
    const { inputs, weight } = this.#layer;
    const pieceStart = pass.pieceStart(weight.offset + end * inputs);
    const row = Math.min(Math.floor((pieceStart - weight.offset) / inputs), end - 1);
    return Math.max(0, Math.floor(row / TILE_ROWS) * TILE_ROWS);
  }

  /** dX[B, I] = dY W. */
  #inputGradient(dY: number, rows: number): number {
    const { inputs, outputs } = this.#layer;
    const { kernels, packed } = this.#site;
    const { left, tiles } = this.#scratch;
    const [, panels] = packed as [number, number, number];
    const dX = this.#site.otherError(dY);
    kernels.packLeftRows(dY, rows, outputs, outputs, left);
    kernels.gemmPacked(rows, inputs, outputs, left, panels, dX, inputs, tiles);
    return dX;
  }
}
