// One thread's run through the positions of a recurrent layer, forward and back. Letters as in cells.ts.
//
//   gates  [B, T, G]   x W, then the values of the gates, then the gradients of what went into them
//   state  [B, T, H]   c of an LSTM, then tanh(c); q of a GRU, then the gradient of what its candidate got from
//                      the input
//   hidden [B, T, H]   h
//
// All stay in the order of the samples, so that the tree of shards runs over rows of B * T; a
// position is every T-th row.
import { TREE_TILES_LENGTH, packedRightLength } from '../../kernels/kernels.ts';
import type { LayerRunner, ParameterTensor, Microbatch, Workspace } from '../layer.ts';
import { stackedSums } from '../shard-sums.ts';
import { RECURRENCE_LENGTH, writeRecurrence } from './cells.ts';
import type { CellErrors, RecurrentSizes } from './cells.ts';
import { gradientSliceLength, multiply, setWeightGradient, sliceLength } from './products.ts';
import type { Product } from './products.ts';

/** Addresses of the blocks that last from forward to backward. */
interface Blocks {
  readonly gates: number;
  readonly state: number;
  readonly hidden: number;
  /** [B, H]: the last position by itself, where only that is wanted. */
  readonly last: number;
}

/** Addresses of the blocks that do not. */
interface Scratch {
  readonly left: number;
  readonly right: number;
  readonly tiles: number;
  readonly biasSums: number;
  /** [B, G]: products of the position before. */
  readonly products: number;
  /** [B, H] each: errors from the position after. */
  readonly dHidden: number;
  readonly dState: number;
  /** [B, T, H]: h of the position before. */
  readonly previous: number;
}

/** The layer's packed weights, by the order of its `packedLengths`. */
interface Weights {
  readonly toGates: number;
  readonly stateToGates: number;
  readonly toInput: number;
  readonly toState: number;
  readonly bias: number;
  readonly zeros: number;
}

/** The buffers of one thread for a recurrent layer. */
export class RecurrentRunner implements LayerRunner {
  readonly #layer: RecurrentSizes;
  readonly #workspace: Workspace;
  readonly #blocks: Blocks;
  readonly #scratch: Scratch;
  readonly #weights: Weights;
  readonly #bounds: number;
  /** Address of the kernels' record. */
  readonly #recurrence: number;
  #x = 0;

  constructor(layer: RecurrentSizes, workspace: Workspace) {
    const { positions, inputs } = layer;
    this.#layer = layer;
    this.#workspace = workspace;
    this.#blocks = allocateBlocks(layer, workspace);
    this.#scratch = allocateScratch(layer, workspace);
    this.#weights = nameWeights(workspace.packed);
    this.#bounds = workspace.shardBounds(positions);
    this.#recurrence = workspace.activations(RECURRENCE_LENGTH);
    if (layer.needsInputGradient) workspace.reserveError(workspace.maxRows * positions * inputs);
  }

  forward({ rows }: Microbatch, x: number): number {
    const { positions, inputs, columns, units, spec } = this.#layer;
    const { kernels } = this.#workspace;
    const { gates, hidden, last } = this.#blocks;
    this.#x = x;
    this.#writeRecord();
    const panels = this.#weights.toGates;
    this.#multiply({ rows: rows * positions, depth: inputs, columns, x, stride: inputs, panels, y: gates });
    for (let position = 0; position < positions; position++) this.#stepForward(rows, position);
    if (spec.returnSequences) return hidden;
    kernels.copyRows(hidden + 4 * (positions - 1) * units, positions * units, units, rows, last, units);
    return last;
  }

  #writeRecord(): void {
    const { positions, units } = this.#layer;
    const { gates, state, hidden } = this.#blocks;
    const { products, dHidden, dState } = this.#scratch;
    const { bias, zeros } = this.#weights;
    const blocks = { gates, state, hidden, products, bias, zeros, dHidden, dState };
    writeRecurrence(this.#workspace.memory, this.#recurrence, { units, positions, ...blocks });
  }

  #stepForward(rows: number, position: number): void {
    const { cell, columns, positions, units } = this.#layer;
    if (position > 0) {
      const x = this.#blocks.hidden + 4 * (position - 1) * units;
      const panels = this.#weights.stateToGates;
      const y = this.#scratch.products;
      this.#multiply({ rows, depth: units, columns, x, stride: positions * units, panels, y });
    }
    this.#workspace.kernels[cell.forward](this.#recurrence, rows, position);
  }

  backward(microbatch: Microbatch, dY: number): number {
    const { cell, columns, inputs, inputWeight, positions, recurrentWeight, units } = this.#layer;
    const { kernels } = this.#workspace;
    const { gates, state } = this.#blocks;
    for (let position = positions - 1; position >= 0; position--) {
      this.#stepBackward(microbatch.rows, position, dY);
    }
    const rows = microbatch.rows * positions;
    const errors = { gates, state, units, rows };
    this.#biasGradients(microbatch, errors);
    this.#shiftHidden(microbatch.rows);
    this.#weightGradient(microbatch, recurrentWeight, { inputs: units, x: this.#scratch.previous });
    cell.turnToInput(kernels, errors);
    this.#weightGradient(microbatch, inputWeight, { inputs, x: this.#x });
    if (!this.#layer.needsInputGradient) return 0;
    const dX = this.#workspace.otherError(dY);
    const panels = this.#weights.toInput;
    this.#multiply({ rows, depth: columns, columns: inputs, x: gates, stride: columns, panels, y: dX });
    return dX;
  }

  #stepBackward(rows: number, position: number, dY: number): void {
    const { cell, columns, positions, units } = this.#layer;
    const [above, aboveStride] = this.#errorFromAbove(dY, position);
    this.#workspace.kernels[cell.backward](this.#recurrence, rows, position, above, aboveStride);
    if (position === 0) return;
    const x = this.#blocks.gates + 4 * position * columns;
    const panels = this.#weights.toState;
    const y = this.#scratch.dHidden;
    this.#multiply({ rows, depth: columns, columns: units, x, stride: positions * columns, panels, y });
  }

  /**
   * Address of the error that the layer above left of a position, and the f32 from
   * sample to sample: 0 for zeros.
   */
  #errorFromAbove(dY: number, position: number): [address: number, stride: number] {
    const { positions, spec, units } = this.#layer;
    if (spec.returnSequences) return [dY + 4 * position * units, positions * units];
    return position === positions - 1 ? [dY, units] : [this.#weights.zeros, 0];
  }

  #multiply(product: Product): void {
    multiply(this.#workspace.kernels, product, this.#scratch.left, this.#scratch.tiles);
  }

  #biasGradients(microbatch: Microbatch, errors: CellErrors): void {
    const { cell, inputBias, recurrentBias } = this.#layer;
    const to = {
      input: microbatch.gradient + 4 * inputBias.offset,
      recurrent: microbatch.gradient + 4 * recurrentBias.offset,
    };
    const shards = { microbatch, bounds: this.#bounds, slots: this.#scratch.biasSums };
    cell.biasGradients(this.#workspace.kernels, to, errors, shards);
    microbatch.complete(inputBias.offset);
  }

  /**
   * `previous` = h of the position before each, and zeros before the first: what the
   * recurrent weight has met.
   */
  #shiftHidden(rows: number): void {
    const { positions, units } = this.#layer;
    const { kernels } = this.#workspace;
    const { previous } = this.#scratch;
    const length = (rows * positions - 1) * units;
    kernels.copyRows(this.#blocks.hidden, length, length, 1, previous + 4 * units, length);
    kernels.copyRows(this.#weights.zeros, 0, units, rows, previous, positions * units);
  }

  #weightGradient(
    microbatch: Microbatch,
    weight: ParameterTensor,
    { inputs, x }: { inputs: number; x: number },
  ): void {
    const { columns, positions } = this.#layer;
    const { left, right, tiles } = this.#scratch;
    setWeightGradient(this.#workspace.kernels, microbatch, {
      weight,
      outputs: columns,
      inputs,
      rows: microbatch.rows * positions,
      dY: this.#blocks.gates,
      x,
      bounds: this.#bounds,
      left,
      right,
      tiles,
    });
  }
}

function allocateBlocks({ columns, positions, spec, units }: RecurrentSizes, workspace: Workspace): Blocks {
  const rows = workspace.maxRows * positions;
  return {
    gates: workspace.activations(rows * columns),
    state: workspace.activations(rows * units),
    hidden: workspace.activations(rows * units),
    last: spec.returnSequences ? 0 : workspace.activations(workspace.maxRows * units),
  };
}

function allocateScratch(
  { columns, inputs, positions, units }: RecurrentSizes,
  workspace: Workspace,
): Scratch {
  const rows = workspace.maxRows * positions;
  const addresses = workspace.scratch(
    Math.max(sliceLength(rows, Math.max(inputs, columns)), gradientSliceLength(columns, rows)),
    packedRightLength(rows, Math.max(inputs, units)),
    TREE_TILES_LENGTH,
    stackedSums(workspace.maxShards) * columns,
    workspace.maxRows * columns,
    workspace.maxRows * units,
    workspace.maxRows * units,
    rows * units,
  );
  const [left = 0, right = 0, tiles = 0, biasSums = 0, products = 0, dHidden = 0, dState = 0, previous = 0] =
    addresses;
  return { left, right, tiles, biasSums, products, dHidden, dState, previous };
}

function nameWeights(packed: readonly number[]): Weights {
  const [toGates = 0, stateToGates = 0, toInput = 0, toState = 0, bias = 0, zeros = 0] = packed;
  return { toGates, stateToGates, toInput, toState, bias, zeros };
}
