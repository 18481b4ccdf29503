// The two ways to convolve a sample: as matrix products, group by group, or one channel at a time.
import {
  TILE_COLUMNS,
  TILE_LENGTH,
  TILE_ROWS,
  packedLeftLength,
  packedRightLength,
} from '../../kernels/kernels.ts';
import type { Workspace } from '../layer.ts';
import { stackedSums } from '../shard-sums.ts';
import type { Convolution, SampleConvolution } from './runner.ts';

/** f32 of a slice of packed patches, or of their gradient: 128 KiB, a quarter of a common L2 cache. */
const SLICE_LENGTH = 32_768;

/** Scratch, by what it holds. */
interface Scratch {
  readonly padded: number;
  readonly left: number;
  readonly right: number;
  /** Gradients of patches. */
  readonly product: number;
  /** dW^T, where it is computed in place of dW. */
  readonly transposed: number;
  readonly plane: number;
  readonly tile: number;
  readonly sums: number;
}

/** Lengths of the slices of each product. */
interface Slices {
  /** Panels of positions, of K, and channels. */
  readonly forward: number;
  readonly weightGradient: number;
  readonly inputGradient: number;
}

/**
 * A convolution of a sample as matrix products, group by group:
 *
 *   y[F, P]   = W[F, K] patches[K, P]          forward
 *   dW[F, K] += dY[F, P] patches^T             or its transpose, where that packs less
 *   dX        = fold(W^T[K, F] dY[F, P])       adds the gradients of all windows that a value is in
 *
 * Letters: F filters, C channels, K = C x taps, P positions, all of one group. Patches are
 * packed straight from a padded copy of the sample, a slice of the product at a time, so that
 * they stay in the L2 cache.
 */
export class MatrixConvolution implements SampleConvolution {
  readonly #layer: Convolution;
  readonly #workspace: Workspace;
  readonly #scratch: Scratch;
  readonly #slices: Slices;
  /**
   * True where dW^T = patches dY^T is computed: tiles are narrower on the left, so the
   * smaller side goes there.
   */
  readonly #isTransposed: boolean;

  constructor(layer: Convolution, workspace: Workspace) {
    this.#layer = layer;
    this.#workspace = workspace;
    this.#isTransposed = layer.group.depth < layer.group.filters;
    this.#slices = slicesOf(layer);
    this.#scratch = layOutScratch(layer, workspace, this.#slices);
  }

  get padded(): number {
    return this.#scratch.padded;
  }

  get sums(): number {
    return this.#scratch.sums;
  }

  forward(y: number, activation: number): void {
    const { spec, window } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [geometry, biases, panels] = packed as [number, number, number];
    if (window.channels === 1 && kernels.hasThreeByThree(geometry)) {
      kernels.singleChannelForward(activation, this.padded, geometry, panels, biases, spec.filters, y);
      return;
    }
    for (let group = 0; group < spec.groups; group++) this.#forwardGroup(group, y);
    kernels.channelBiasActivation(activation, y, biases, spec.filters, window.positions);
  }

  #forwardGroup(index: number, y: number): void {
    const { window, group } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const { right, tile } = this.#scratch;
    const [geometry, , panels] = packed as [number, number, number];
    const { filters, depth, channels } = group;
    const { positions } = window;
    const padded = this.#paddedGroup(index);
    const left = panels + 4 * index * packedLeftLength(filters, depth);
    const to = y + 4 * index * filters * positions;
    const numPanels = Math.ceil(positions / TILE_COLUMNS);
    for (let first = 0; first < numPanels; first += this.#slices.forward) {
      const end = Math.min(first + this.#slices.forward, numPanels);
      const start = first * TILE_COLUMNS;
      const columns = Math.min(end * TILE_COLUMNS, positions) - start;
      kernels.packPatchColumns(padded, geometry, channels, right, first, end);
      kernels.gemmPacked(filters, columns, depth, left, right, to + 4 * start, positions, tile);
    }
  }

  addWeightGradient(dY: number, to: number, isFirst: boolean): void {
    for (let group = 0; group < this.#layer.spec.groups; group++) {
      if (this.#isTransposed) this.#transposedWeightGradient(group, dY, isFirst);
      else this.#weightGradient(group, dY, to, isFirst);
    }
  }

  finishWeightGradient(to: number): void {
    if (!this.#isTransposed) return;
    const { spec, group } = this.#layer;
    const length = group.filters * group.depth;
    for (let index = 0; index < spec.groups; index++) {
      const from = this.#scratch.transposed + 4 * index * length;
      this.#workspace.kernels.transpose(from, group.depth, group.filters, to + 4 * index * length);
    }
  }

  inputGradient(dY: number, dX: number): void {
    for (let group = 0; group < this.#layer.spec.groups; group++) this.#inputGradient(group, dY, dX);
  }

  /** dW[F, K] += dY patches^T, a slice of K at a time. */
  #weightGradient(index: number, dY: number, to: number, isFirst: boolean): void {
    const { window, group } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const { left, right, tile } = this.#scratch;
    const [geometry] = packed as [number];
    const { filters, depth, channels } = group;
    const { positions } = window;
    const multiply = isFirst ? kernels.gemmPacked : kernels.gemmPackedInto;
    const padded = this.#paddedGroup(index);
    const dW = to + 4 * index * filters * depth;
    const numPanels = Math.ceil(depth / TILE_COLUMNS);
    kernels.packLeftRows(dY + 4 * index * filters * positions, filters, positions, positions, left);
    for (let first = 0; first < numPanels; first += this.#slices.weightGradient) {
      const end = Math.min(first + this.#slices.weightGradient, numPanels);
      const start = first * TILE_COLUMNS;
      const columns = Math.min(end * TILE_COLUMNS, depth) - start;
      kernels.packPatchRows(padded, geometry, channels, right, first, end);
      multiply(filters, columns, positions, left, right, dW + 4 * start, depth, tile);
    }
  }

  /** dW^T[K, F] += patches dY^T. */
  #transposedWeightGradient(index: number, dY: number, isFirst: boolean): void {
    const { window, group } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const { left, right, transposed, tile } = this.#scratch;
    const [geometry] = packed as [number];
    const { filters, depth, channels } = group;
    const { positions } = window;
    const multiply = isFirst ? kernels.gemmPacked : kernels.gemmPackedInto;
    const d = dY + 4 * index * filters * positions;
    const to = transposed + 4 * index * filters * depth;
    kernels.packPatchesLeft(this.#paddedGroup(index), geometry, channels, left);
    const numPanels = Math.ceil(filters / TILE_COLUMNS);
    kernels.packRightRows(d, filters, positions, positions, right, 0, numPanels);
    multiply(depth, filters, positions, left, right, to, filters, tile);
  }

  /** dX of the group: gradients of patches for some channels at a time, folded into their planes. */
  #inputGradient(index: number, dY: number, dX: number): void {
    const { window, group } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const { right, product, plane, tile } = this.#scratch;
    const [geometry, , , panels] = packed as [number, number, number, number];
    const { filters, depth, channels } = group;
    const { positions, taps, planeLength } = window;
    const d = dY + 4 * index * filters * positions;
    const numPanels = Math.ceil(positions / TILE_COLUMNS);
    const left = panels + 4 * index * packedLeftLength(depth, filters);
    const to = dX + 4 * index * channels * planeLength;
    kernels.packRightColumns(d, positions, filters, positions, right, 0, numPanels);
    for (let first = 0; first < channels; first += this.#slices.inputGradient) {
      const count = Math.min(this.#slices.inputGradient, channels - first);
      const rows = left + 4 * packedLeftLength(first * taps, filters);
      kernels.gemmPacked(count * taps, positions, filters, rows, right, product, positions, tile);
      kernels.foldPatches(product, geometry, count, plane, to + 4 * first * planeLength);
    }
  }

  #paddedGroup(index: number): number {
    const { window, group } = this.#layer;
    return this.#scratch.padded + 4 * index * group.channels * window.paddedLength;
  }
}

function slicesOf({ window, group }: Convolution): Slices {
  const { positions, taps } = window;
  const slices = (length: number): number => Math.max(1, Math.floor(SLICE_LENGTH / length));
  return {
    forward: slices(TILE_COLUMNS * group.depth),
    weightGradient: slices(TILE_COLUMNS * positions),
    // Multiples of a tile's rows, so that a slice of W^T begins with a panel.
    inputGradient: TILE_ROWS * slices(TILE_ROWS * taps * positions),
  };
}

function layOutScratch(layer: Convolution, workspace: Workspace, slices: Slices): Scratch {
  const { window, group, weight, needsInputGradient } = layer;
  const { filters, depth, channels } = group;
  const { positions, taps } = window;
  const isTransposed = depth < filters;
  const rightForward = Math.min(packedRightLength(depth, positions), slices.forward * TILE_COLUMNS * depth);
  const rightOfWeights = isTransposed
    ? packedRightLength(positions, filters)
    : Math.min(packedRightLength(positions, depth), slices.weightGradient * TILE_COLUMNS * positions);
  const rightOfInput = needsInputGradient ? packedRightLength(filters, positions) : 0;
  const folded = needsInputGradient ? Math.min(channels, slices.inputGradient) * taps * positions : 0;
  const [padded = 0, left = 0, right = 0, product = 0, transposed = 0, plane = 0, tile = 0, sums = 0] =
    workspace.scratch(
      window.channels * window.paddedLength,
      packedLeftLength(Math.min(depth, filters), positions),
      Math.max(rightForward, rightOfWeights, rightOfInput),
      folded,
      isTransposed ? weight.length : 0,
      needsInputGradient ? window.paddedLength : 0,
      TILE_LENGTH,
      sumsLength(layer, workspace),
    );
  return { padded, left, right, product, transposed, plane, tile, sums };
}

/** A depthwise convolution of a sample: its kernels look at one channel at a time. */
export class DepthwiseConvolution implements SampleConvolution {
  readonly padded: number;
  readonly sums: number;
  readonly #layer: Convolution;
  readonly #workspace: Workspace;
  /** One padded plane. */
  readonly #plane: number;

  constructor(layer: Convolution, workspace: Workspace) {
    const { window, inputShape } = layer;
    const [, height = 0, width = 0] = inputShape;
    this.#layer = layer;
    this.#workspace = workspace;
    [this.padded = 0, this.#plane = 0, this.sums = 0] = workspace.scratch(
      window.channels * window.paddedLength,
      Math.max(window.paddedLength, (height + 2) * (width + 2)),
      sumsLength(layer, workspace),
    );
  }

  forward(y: number, activation: number): void {
    const { window, group } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [geometry, biases, weights] = packed as [number, number, number];
    const { channels } = window;
    // prettier-ignore
    kernels.depthwiseForward(activation, this.padded, geometry, weights, biases, channels, group.filters, y);
  }

  addWeightGradient(dY: number, to: number, isFirst: boolean): void {
    const { window, group } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [geometry] = packed as [number];
    kernels.depthwiseWeightGradient(this.padded, geometry, dY, window.channels, group.filters, to, !isFirst);
  }

  finishWeightGradient(): void {
    // It is where it belongs.
  }

  inputGradient(dY: number, dX: number): void {
    const { window, group } = this.#layer;
    const { kernels, packed } = this.#workspace;
    const [geometry, , weights] = packed as [number, number, number];
    kernels.depthwiseInputGradient(dY, geometry, weights, window.channels, group.filters, this.#plane, dX);
  }
}

/** f32 of scratch for the sums of weight and bias gradients that wait for other shards. */
function sumsLength({ weight, bias }: Convolution, { maxShards }: Workspace): number {
  return stackedSums(maxShards) * (weight.length + (bias?.length ?? 0));
}
