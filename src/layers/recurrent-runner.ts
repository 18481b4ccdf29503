// One thread's run through the positions of a recurrent layer, forward and back. Letters as in recurrent-cell.ts.
//
//   gates  [B, T, G]   x W, then the values of the gates, then the gradients of what went into them
//   state  [B, T, H]   c of an LSTM; q of a GRU, then the gradient of what its candidate got from the input
//   hidden [B, T, H]   h
//
// All stay in the order of the samples, so that the tree of leaves runs over rows of B * T; a step reads and writes every
// T-th row. What stands before the first position and behind the last is a row of zeros, read with stride 0.
import { TREE_TILES_LENGTH, packedRightLength } from '../kernels/tile.ts';
import type { LayerRunner, ParameterTensor, Pass, Site } from './layer.ts';
import { stackedSums } from './leaf-sums.ts';
import type { CellErrors, RecurrentSizes } from './recurrent-cell.ts';
import { gradientSliceLength, multiply, setWeightGradient, sliceLength } from './recurrent-products.ts';
import type { Product } from './recurrent-products.ts';

/** Addresses of what lasts from forward to backward. */
interface Blocks {
  readonly gates: number;
  readonly state: number;
  readonly hidden: number;
  /** [B, H]: the last position by itself, where only that is wanted. */
  readonly last: number;
}

/** Addresses of what does not. */
interface Scratch {
  readonly left: number;
  readonly right: number;
  readonly tiles: number;
  readonly biasSums: number;
  /** [B, G]: products of the position before. */
  readonly products: number;
  /** [B, H] each: errors from the position behind. */
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

/** See the head of this file. */
export class RecurrentRunner implements LayerRunner {
  readonly #layer: RecurrentSizes;
  readonly #site: Site;
  readonly #blocks: Blocks;
  readonly #scratch: Scratch;
  readonly #weights: Weights;
  readonly #bounds: number;
  #x = 0;

  constructor(layer: RecurrentSizes, site: Site) {
    const { positions, inputs } = layer;
    this.#layer = layer;
    this.#site = site;
    this.#blocks = allocateBlocks(layer, site);
    this.#scratch = allocateScratch(layer, site);
    this.#weights = nameWeights(site.packed);
    this.#bounds = site.leafBounds(positions);
    if (layer.needsInputGradient) site.reserveError(site.maxRows * positions * inputs);
  }

  forward({ rows }: Pass, x: number): number {
    const { positions, inputs, columns, units, spec } = this.#layer;
    const { kernels } = this.#site;
    const { gates, hidden, last } = this.#blocks;
    this.#x = x;
    const panels = this.#weights.toGates;
    this.#multiply({ rows: rows * positions, depth: inputs, columns, x, stride: inputs, panels, y: gates });
    for (let position = 0; position < positions; position++) this.#stepForward(rows, position);
    if (spec.returnSequences) return hidden;
    kernels.copyRows(hidden + 4 * (positions - 1) * units, positions * units, units, rows, last, units);
    return last;
  }

  #stepForward(rows: number, position: number): void {
    const { cell, columns, positions, units } = this.#layer;
    const { kernels } = this.#site;
    const { products } = this.#scratch;
    const { bias, stateToGates, zeros } = this.#weights;
    const { gates, state, hidden } = this.#blocks;
    const isFirst = position === 0;
    const [at, stride] = [4 * position * units, positions * units];
    if (!isFirst) {
      const x = hidden + at - 4 * units;
      this.#multiply({ rows, depth: units, columns, x, stride, panels: stateToGates, y: products });
    }
    kernels[cell.forward](
      rows,
      units,
      gates + 4 * position * columns,
      positions * columns,
      isFirst ? zeros : products,
      isFirst ? 0 : columns,
      bias,
      isFirst ? zeros : this.#blocks[cell.carries] + at - 4 * units,
      isFirst ? 0 : stride,
      state + at,
      hidden + at,
      stride,
    );
  }

  backward(pass: Pass, dY: number): number {
    const { cell, columns, inputs, inputWeight, positions, recurrentWeight, units } = this.#layer;
    const { kernels } = this.#site;
    const { gates, state } = this.#blocks;
    for (let position = positions - 1; position >= 0; position--) {
      this.#stepBackward(pass.rows, position, dY);
    }
    const rows = pass.rows * positions;
    const errors = { gates, state, units, rows };
    this.#biasGradients(pass, errors);
    this.#shiftHidden(pass.rows);
    this.#weightGradient(pass, recurrentWeight, { inputs: units, x: this.#scratch.previous });
    cell.turnToInput(kernels, errors);
    this.#weightGradient(pass, inputWeight, { inputs, x: this.#x });
    if (!this.#layer.needsInputGradient) return 0;
    const dX = this.#site.otherError(dY);
    const panels = this.#weights.toInput;
    this.#multiply({ rows, depth: columns, columns: inputs, x: gates, stride: columns, panels, y: dX });
    return dX;
  }

  #stepBackward(rows: number, position: number, dY: number): void {
    const { cell, columns, positions, spec, units } = this.#layer;
    const { dHidden, dState } = this.#scratch;
    const { toState, zeros } = this.#weights;
    const { gates, state } = this.#blocks;
    const [isFirst, isLast] = [position === 0, position === positions - 1];
    const [at, stride] = [4 * position * units, positions * units];
    const gatesAt = gates + 4 * position * columns;
    const above = this.#errorFromAbove(dY, at, isLast);
    this.#site.kernels[cell.backward](
      rows,
      units,
      gatesAt,
      positions * columns,
      state + at,
      stride,
      isFirst ? zeros : this.#blocks[cell.carries] + at - 4 * units,
      isFirst ? 0 : stride,
      above,
      above === zeros ? 0 : spec.returnSequences ? stride : units,
      isLast ? zeros : dHidden,
      isLast ? zeros : dState,
      isLast ? 0 : units,
      dState,
    );
    if (isFirst) return;
    const x = gatesAt;
    this.#multiply({
      rows,
      depth: columns,
      columns: units,
      x,
      stride: positions * columns,
      panels: toState,
      y: dHidden,
    });
  }

  /** Where the layer above left the error of a position. */
  #errorFromAbove(dY: number, at: number, isLast: boolean): number {
    if (this.#layer.spec.returnSequences) return dY + at;
    return isLast ? dY : this.#weights.zeros;
  }

  #multiply(product: Product): void {
    multiply(this.#site.kernels, product, this.#scratch.left, this.#scratch.tiles);
  }

  #biasGradients(pass: Pass, errors: CellErrors): void {
    const { cell, inputBias, recurrentBias } = this.#layer;
    const to = {
      input: pass.gradient + 4 * inputBias.offset,
      recurrent: pass.gradient + 4 * recurrentBias.offset,
    };
    const leaves = { pass, bounds: this.#bounds, slots: this.#scratch.biasSums };
    cell.biasGradients(this.#site.kernels, to, errors, leaves);
    pass.complete(inputBias.offset);
  }

  /** `previous` = h of the position before each, and zeros before the first: what the recurrent weight has met. */
  #shiftHidden(rows: number): void {
    const { positions, units } = this.#layer;
    const { kernels } = this.#site;
    const { previous } = this.#scratch;
    const length = (rows * positions - 1) * units;
    kernels.copyRows(this.#blocks.hidden, length, length, 1, previous + 4 * units, length);
    kernels.copyRows(this.#weights.zeros, 0, units, rows, previous, positions * units);
  }

  #weightGradient(pass: Pass, weight: ParameterTensor, { inputs, x }: { inputs: number; x: number }): void {
    const { columns, positions } = this.#layer;
    const { left, right, tiles } = this.#scratch;
    setWeightGradient(this.#site.kernels, pass, {
      weight,
      outputs: columns,
      inputs,
      rows: pass.rows * positions,
      dY: this.#blocks.gates,
      x,
      bounds: this.#bounds,
      left,
      right,
      tiles,
    });
  }
}

function allocateBlocks({ columns, positions, spec, units }: RecurrentSizes, site: Site): Blocks {
  const rows = site.maxRows * positions;
  return {
    gates: site.activations(rows * columns),
    state: site.activations(rows * units),
    hidden: site.activations(rows * units),
    last: spec.returnSequences ? 0 : site.activations(site.maxRows * units),
  };
}

function allocateScratch({ columns, inputs, positions, units }: RecurrentSizes, site: Site): Scratch {
  const rows = site.maxRows * positions;
  const addresses = site.scratch(
    Math.max(sliceLength(rows, Math.max(inputs, columns)), gradientSliceLength(columns, rows)),
    packedRightLength(rows, Math.max(inputs, units)),
    TREE_TILES_LENGTH,
    stackedSums(site.maxLeaves) * columns,
    site.maxRows * columns,
    site.maxRows * units,
    site.maxRows * units,
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
