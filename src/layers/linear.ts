// A learned linear map of rows, z = x W^T, with its gradients, of which dense and attention
// are made. Its bias is packed here too, and added by the layer that uses it. Letters: B
// rows, I inputs, O outputs.
import {
  TILE_COLUMNS,
  TILE_ROWS,
  TREE_TILES_LENGTH,
  packedLeftLength,
  packedRightLength,
} from '../kernels/kernels.ts';
import type {
  InitialValues,
  LayerBuilder,
  PackOptions,
  ParameterTensor,
  Microbatch,
  Workspace,
} from './layer.ts';
import { stackedSums } from './shard-sums.ts';
import { shareOf } from '../tree.ts';

/** Everything that a map is made from. */
export interface LinearOptions {
  readonly inputs: number;
  readonly outputs: number;
  /** Matrix rows of one sample. */
  readonly rowsPerSample: number;
  /** Names of the tensors; without one for the bias there is none. */
  readonly names: { readonly weight: string; readonly bias?: string | undefined };
  readonly initial: InitialValues;
  readonly needsInputGradient: boolean;
  /** The one of the layer's modules that has the tensors; default: the first. */
  readonly module?: number | undefined;
}

/** A linear map of rows. Its tensors follow each other in the flat vector. */
export class Linear {
  readonly options: LinearOptions;
  readonly weight: ParameterTensor;
  readonly bias: ParameterTensor | undefined;

  constructor(options: LinearOptions, builder: LayerBuilder) {
    const { inputs, outputs, names, initial, module } = options;
    this.options = options;
    this.weight = builder.tensor({
      name: names.weight,
      shape: [outputs, inputs],
      role: 'weight',
      initial,
      module,
    });
    if (names.bias !== undefined) {
      this.bias = builder.tensor({
        name: names.bias,
        shape: [outputs],
        role: 'bias',
        initial: { kind: 'constant', value: 0 },
        module,
      });
    }
  }

  get tensors(): ParameterTensor[] {
    return this.bias ? [this.weight, this.bias] : [this.weight];
  }

  /** Panels of W^T for z, panels of W for dX, and the bias, zeros without one. */
  get packedLengths(): number[] {
    const { inputs, outputs, needsInputGradient } = this.options;
    const backward = needsInputGradient ? packedRightLength(outputs, inputs) : 0;
    return [packedRightLength(inputs, outputs), backward, outputs];
  }

  pack({ kernels, flat, packed, part, numParts }: PackOptions): void {
    const [forward, backward, biases] = packed as [number, number, number];
    const { inputs, outputs, needsInputGradient } = this.options;
    const { weight, bias } = this;
    const source = flat + 4 * weight.offset;
    const share = (length: number): [number, number] => {
      const { from, to } = shareOf(Math.ceil(length / TILE_COLUMNS), part, numParts);
      return [from, to];
    };
    kernels.packRightRows(source, outputs, inputs, inputs, forward, ...share(outputs));
    if (needsInputGradient)
      kernels.packRightColumns(source, inputs, outputs, inputs, backward, ...share(inputs));
    if (bias && part === 0) kernels.copyValues(flat + 4 * bias.offset, outputs, biases);
  }

  /**
   * f32 of scratch that a runner takes: packed operands, register tiles of the tree product,
   * partial sums of the bias.
   */
  scratchLengths({ maxRows, maxShards }: Workspace): number[] {
    const { inputs, outputs, rowsPerSample } = this.options;
    const rows = maxRows * rowsPerSample;
    return [
      Math.max(packedLeftLength(rows, Math.max(inputs, outputs)), packedLeftLength(outputs, rows)),
      packedRightLength(rows, inputs),
      TREE_TILES_LENGTH,
      stackedSums(maxShards) * outputs,
    ];
  }
}

/** The map in one thread. `scratch` holds blocks of `scratchLengths`, `packed` those of `packedLengths`. */
export class LinearRunner {
  /** Address of the packed bias [O]. */
  readonly biases: number;
  readonly #linear: Linear;
  readonly #workspace: Workspace;
  readonly #panels: { forward: number; backward: number };
  readonly #bounds: number;
  readonly #scratch: { left: number; right: number; tiles: number; biasSums: number };

  constructor(linear: Linear, workspace: Workspace, packed: readonly number[], scratch: readonly number[]) {
    const [forward = 0, backward = 0, biases = 0] = packed;
    const [left = 0, right = 0, tiles = 0, biasSums = 0] = scratch;
    this.biases = biases;
    this.#linear = linear;
    this.#workspace = workspace;
    this.#panels = { forward, backward };
    this.#scratch = { left, right, tiles, biasSums };
    this.#bounds = workspace.shardBounds(linear.options.rowsPerSample);
  }

  /** z[B, O] = x[B, I] W^T. */
  forward(microbatch: Microbatch, x: number, z: number): void {
    const { inputs, outputs, rowsPerSample } = this.#linear.options;
    const { kernels } = this.#workspace;
    const { left, tiles } = this.#scratch;
    const rows = microbatch.rows * rowsPerSample;
    kernels.packLeftRows(x, rows, inputs, inputs, left);
    kernels.gemmPacked(rows, outputs, inputs, left, this.#panels.forward, z, outputs, tiles);
  }

  /** Sets the gradients of bias and weight, and completes them. */
  parameterGradients(microbatch: Microbatch, x: number, dZ: number): void {
    const { outputs } = this.#linear.options;
    const { bias } = this.#linear;
    if (bias) {
      const db = microbatch.gradient + 4 * bias.offset;
      const numShards = microbatch.bounds.length - 1;
      this.#workspace.kernels.columnSumTree(dZ, outputs, this.#bounds, numShards, db, this.#scratch.biasSums);
    }
    this.#weightGradient(microbatch, x, dZ);
  }

  /**
   * dW[O, I] = dZ^T x, the last rows first, a bucket of the flat vector at a time: it can travel
   * while the rest is computed.
   */
  #weightGradient(microbatch: Microbatch, x: number, dZ: number): void {
    const { inputs, outputs, rowsPerSample } = this.#linear.options;
    const { weight } = this.#linear;
    const { kernels } = this.#workspace;
    const { left, right, tiles } = this.#scratch;
    const rows = microbatch.rows * rowsPerSample;
    kernels.packLeftColumns(dZ, outputs, rows, outputs, left);
    kernels.packRightColumns(x, inputs, rows, inputs, right, 0, Math.ceil(inputs / TILE_COLUMNS));
    for (let end = outputs; end > 0;) {
      const start = this.#firstRow(microbatch, end);
      const panels = left + 4 * packedLeftLength(start, rows);
      const dW = weight.offset + start * inputs;
      const to = microbatch.gradient + 4 * dW;
      const numShards = microbatch.bounds.length - 1;
      // prettier-ignore
      kernels.gemmPackedTree(end - start, inputs, rows, panels, right, to, inputs, this.#bounds, numShards, tiles);
      microbatch.complete(dW);
      end = start;
    }
  }

  /** The row, at the start of a tile, from which rows up to `end` complete a bucket. */
  #firstRow(microbatch: Microbatch, end: number): number {
    const { inputs } = this.#linear.options;
    const { weight } = this.#linear;
    const bucketStart = microbatch.bucketStart(weight.offset + end * inputs);
    const row = Math.min(Math.floor((bucketStart - weight.offset) / inputs), end - 1);
    return Math.max(0, Math.floor(row / TILE_ROWS) * TILE_ROWS);
  }

  /** dX[B, I] = dZ W. */
  inputGradient(microbatch: Microbatch, dZ: number, dX: number): void {
    const { inputs, outputs, rowsPerSample } = this.#linear.options;
    const { kernels } = this.#workspace;
    const { left, tiles } = this.#scratch;
    const rows = microbatch.rows * rowsPerSample;
    kernels.packLeftRows(dZ, rows, outputs, outputs, left);
    kernels.gemmPacked(rows, inputs, outputs, left, this.#panels.backward, dX, inputs, tiles);
  }
}
