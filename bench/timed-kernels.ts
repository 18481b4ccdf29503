// What `lockstep bench kernels` measures: matrix products, both operands packed each time; convolutions, forward and
// backward of a layer as it runs in training; and elementwise kernels on vectors that no cache holds.
import { planMicrobatches } from '../src/engine/plan.ts';
import { ThreadWorkspace } from '../src/engine/workspace.ts';
import {
  packedLeftLength,
  packedRightLength,
  TILE_COLUMNS,
  TREE_TILES_LENGTH,
} from '../src/kernels/kernels.ts';
import type { Kernels } from '../src/kernels/kernels.ts';
import { activationNumber } from '../src/layers/activation.ts';
import type { Layer, Microbatch } from '../src/layers/layer.ts';
import { layerSchema } from '../src/layers/registry.ts';
import type { Memory } from '../src/memory.ts';
import { resolveModel } from '../src/model/model.ts';
import { createRule, optimizerSchema, STEP_LENGTH, writeStep } from '../src/optimizer/registry.ts';
import type { SliceStep } from '../src/optimizer/registry.ts';
import { sizeOf } from '../src/shape.ts';
import type { Shape } from '../src/shape.ts';

/** One product: C[m, n] = A B over depth k. */
export interface ProductShape {
  readonly name: string;
  /** Storage of each operand: as in the formula (N) or transposed (T). */
  readonly layout: 'NN' | 'NT' | 'TN';
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

const LAYOUTS = ['NN', 'NT', 'TN'] as const;

/** Squares, and the products of one shard of a 784 to 256 layer. */
export const PRODUCT_SHAPES: readonly ProductShape[] = [
  ...[192, 384, 768, 1024].flatMap((size) =>
    LAYOUTS.map((layout) => ({ name: `${size} square`, layout, m: size, n: size, k: size })),
  ),
  ...[16, 32, 64].flatMap((rows): ProductShape[] => [
    { name: `forward, ${rows} rows`, layout: 'NT', m: rows, n: 256, k: 784 },
    { name: `input gradient, ${rows} rows`, layout: 'NN', m: rows, n: 784, k: 256 },
    { name: `weight gradient, ${rows} rows`, layout: 'TN', m: 256, n: 784, k: rows },
  ]),
];

/** Addresses of operands and scratch, with room for every shape. */
export interface ProductBuffers {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly packedA: number;
  readonly packedB: number;
  readonly bounds: number;
  readonly tiles: number;
}

/** Allocates for all shapes, and fills the operands with normal numbers. */
export function allocateProductBuffers(memory: Memory): ProductBuffers {
  const room = (lengthOf: (shape: ProductShape) => number): number => {
    const length = Math.max(...PRODUCT_SHAPES.map(lengthOf));
    const address = memory.allocate(4 * length, 'the benchmark');
    memory.f32(address, length).fill(0.5);
    return address;
  };
  return {
    a: room(({ m, k }) => m * k),
    b: room(({ n, k }) => n * k),
    c: room(({ m, n }) => m * n),
    packedA: room(({ m, k }) => packedLeftLength(m, k)),
    packedB: room(({ n, k }) => packedRightLength(k, n)),
    bounds: memory.allocate(8, 'the benchmark'),
    tiles: memory.allocate(4 * TREE_TILES_LENGTH, 'the benchmark'),
  };
}

/**
 * A closure that packs both operands and multiplies; a weight gradient by the tree product of one
 * shard.
 */
export function productOf(
  kernels: Kernels,
  memory: Memory,
  buffers: ProductBuffers,
  { name, layout, m, n, k }: ProductShape,
): () => void {
  const { a, b, c, packedA, packedB, bounds, tiles } = buffers;
  const panels = Math.ceil(n / TILE_COLUMNS);
  const isTree = name.startsWith('weight gradient');
  return () => {
    if (layout === 'TN') kernels.packLeftColumns(a, m, k, m, packedA);
    else kernels.packLeftRows(a, m, k, k, packedA);
    if (layout === 'NT') kernels.packRightRows(b, n, k, k, packedB, 0, panels);
    else kernels.packRightColumns(b, n, k, n, packedB, 0, panels);
    if (isTree) {
      memory.u32(bounds, 2).set([0, k]);
      kernels.gemmPackedTree(m, n, k, packedA, packedB, c, n, bounds, 1, tiles);
    } else kernels.gemmPacked(m, n, k, packedA, packedB, c, n, tiles);
  };
}

/** Samples of a microbatch: a shard of `cnn-mnist`. */
const ROWS = 16;

/** Layers of 3 x 3 with same padding, as in `cnn-mnist` and similar models. */
const CONVOLUTIONS = [
  { inputShape: [1, 28, 28], filters: 32, groups: 1 },
  { inputShape: [32, 14, 14], filters: 64, groups: 1 },
  { inputShape: [64, 28, 28], filters: 64, groups: 1 },
  { inputShape: [64, 14, 14], filters: 64, groups: 64 },
] as const;

/** A convolution whose `run` computes all three of its products, forward and backward. */
export interface TimedConvolution {
  readonly name: string;
  /** Multiplications and additions of one `run`. */
  readonly work: number;
  readonly run: () => void;
}

/** Lays the convolutions out in `memory`. */
export function timedConvolutions(kernels: Kernels, memory: Memory): TimedConvolution[] {
  return CONVOLUTIONS.map(({ inputShape, filters, groups }) => {
    const [channels, height, width] = inputShape;
    const { layer, packed, plan } = secondLayer(kernels, memory, inputShape, { filters, groups });
    const workspace = ThreadWorkspace.allocate(kernels, memory, packed, plan);
    const x = operand(memory, ROWS * sizeOf(inputShape));
    const dY = operand(memory, ROWS * sizeOf(layer.outputShape));
    const runner = layer.createRunner(workspace);
    const microbatch = microbatchInto(memory.allocate(plan.bytes.gradients, 'gradients'));
    return {
      name: `conv2d 3x3 ${channels} -> ${filters} at ${height}x${width}${groups > 1 ? ', depthwise' : ''}`,
      work: (3 * 2 * ROWS * filters * height * width * 9 * channels) / groups,
      run: () => {
        runner.forward(microbatch, x);
        runner.backward(microbatch, dY);
      },
    };
  });
}

/** The convolution above another layer, so that it has an input gradient; packed and planned. */
function secondLayer(
  kernels: Kernels,
  memory: Memory,
  inputShape: Shape,
  options: { readonly filters: number; readonly groups: number },
): { layer: Layer; packed: number[]; plan: ReturnType<typeof planMicrobatches> } {
  const first = layerSchema.parse({ kind: 'conv2d', filters: inputShape[0], kernelSize: 1 });
  const spec = layerSchema.parse({ kind: 'conv2d', kernelSize: 3, padding: 'same', ...options });
  const model = resolveModel({ layers: [first, spec] }, inputShape);
  const layer = model.stack.layers[1] as Layer;
  const packed = layer.packedLengths.map((length) => memory.allocate(4 * length, 'packed weights'));
  const flat = operand(memory, model.numParameters);
  layer.pack({ kernels, memory, flat, packed, part: 0, numParts: 1 });
  return { layer, packed, plan: planMicrobatches(model, { maxRows: ROWS, maxShards: 1 }) };
}

function operand(memory: Memory, length: number): number {
  const address = memory.allocate(4 * length, 'operands');
  memory.f32(address, length).forEach((_, i, values) => (values[i] = ((i * 0.6180339887498949) % 1) - 0.5));
  return address;
}

function microbatchInto(gradient: number): Microbatch {
  return {
    rows: ROWS,
    isTraining: true,
    seed: 0,
    step: 0,
    sampleIndices: 0,
    bounds: Uint32Array.of(0, ROWS),
    gradient,
    complete: () => undefined,
    bucketStart: () => 0,
  };
}

/** One pass over vectors that no cache holds. Bytes of an element include the reading of lines that are written whole. */
export interface Stream {
  readonly name: string;
  readonly bytes: number;
  readonly run: () => void;
}

/** f32 of each vector of a stream: 32 MiB. */
const LENGTH = 2 ** 23;
const COLUMNS = 1024;

/** The triad that measures the bandwidth, and the kernels that are compared with it. */
export function streamsOf(kernels: Kernels, memory: Memory): { triad: Stream; kernels: readonly Stream[] } {
  const vectors = Array.from({ length: 7 }, () => {
    const address = memory.allocate(4 * LENGTH, 'the benchmark');
    memory.f32(address, LENGTH).fill(0.5);
    return address;
  });
  const [a, b, c, d, e, f, g] = vectors as [number, number, number, number, number, number, number];
  const adam = recordOfAdam(memory, { gradientSum: a, current: [b, c, d], next: [e, f, g] });
  const relu = activationNumber('relu');
  const stream = (name: string, bytesOfElement: number, run: () => void): Stream => ({
    name,
    bytes: bytesOfElement * LENGTH,
    run,
  });
  return {
    triad: stream('triad', 16, () => kernels.streamTriad(a, b, c, LENGTH)),
    kernels: [
      stream('Adam step', 40, () => kernels.adamStep(adam)),
      stream('sum of two gradients', 12, () => kernels.addInto(a, b, LENGTH)),
      stream('bias and relu', 8, () => kernels.biasActivationForward(relu, a, b, LENGTH / COLUMNS, COLUMNS)),
      stream('relu, backward', 12, () => kernels.activationBackward(relu, a, b, LENGTH)),
    ],
  };
}

/** The record of an early step of Adam. */
function recordOfAdam(
  memory: Memory,
  addresses: Pick<SliceStep, 'gradientSum' | 'current' | 'next'>,
): number {
  const record = memory.allocate(4 * STEP_LENGTH, 'the benchmark');
  const gradient = { length: LENGTH, divisor: 256, scale: 1, limit: Infinity };
  const settings = { learningRate: 0.001, weightDecay: 0, step: 1 };
  const rule = createRule(optimizerSchema.parse({ kind: 'adam' }));
  writeStep(memory, record, rule, { ...gradient, ...addresses, ...settings });
  return record;
}
