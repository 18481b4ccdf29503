// Convolutions for `lockstep bench kernels`: forward and backward of a layer as it runs in training.
import { planMicrobatches } from '../src/engine/plan.ts';
import { ThreadWorkspace } from '../src/engine/workspace.ts';
import type { Kernels } from '../src/kernels/kernels.ts';
import { layerSchema } from '../src/layers/registry.ts';
import { sizeOf } from '../src/shape.ts';
import type { Layer, Microbatch } from '../src/layers/layer.ts';
import type { Shape } from '../src/shape.ts';
import type { Memory } from '../src/memory.ts';
import { resolveModel } from '../src/model/model.ts';

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
