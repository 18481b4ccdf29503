// The known-answer shard: small training steps through every kind of layer, activation and loss, whose
// result bytes two machines must share before they may work on one model; and the builds of the kernels
// with this proof of each. What else workers compute (fingerprints, ranks) is not rounded. Optimizers run
// in the coordinator alone, so no two machines need to agree on them; Adam is here because it holds the
// weights.
import { createHash } from 'node:crypto';
import { blobByteLength, targetsByteOffset, sampleWeightView } from './data/dataset/packed-dataset.ts';
import { hashDataset } from './data/dataset/hash-dataset.ts';
import type { PackedDataset, RowLayout } from './data/dataset/packed-dataset.ts';
import { ACTIVATIONS } from './layers/activation.ts';
import { layerSchema } from './layers/registry.ts';
import type { LayerInput } from './layers/registry.ts';
import type { KernelModule, Numerics } from './kernels/kernels.ts';
import type { Memory } from './memory.ts';
import { resolveModel } from './model/model.ts';
import type { Model } from './model/model.ts';
import { resolveLoss } from './losses/registry.ts';
import type { LossInput, LossSpec } from './losses/registry.ts';
import { Optimizer } from './optimizer/optimizer.ts';
import { optimizerSchema } from './optimizer/registry.ts';
import { philox4x32 } from './random.ts';
import { drawWeights } from './model/initialize.ts';
import { LocalEngine } from './engine/local-engine.ts';
import type { KernelIdentities, KernelIdentity } from './protocol/message-types.ts';

/** Odd sizes, so that full tiles, edges and tails all take part. */
const NUM_ROWS = 37;
const INPUT_WIDTH = 21;
const NUM_CLASSES = 5;
const SHARDS = 3;
const SEED = 20_070_601;

/** Every kind, those with options in both forms. */
const LOSSES: readonly LossInput[] = [
  'mse',
  'mae',
  { kind: 'huber', delta: 0.25 },
  'binaryCrossEntropy',
  'crossEntropy',
  { kind: 'crossEntropy', labelSmoothing: 0.1 },
];

/** Layers on vectors: every activation, and what keeps the shape. */
const VECTOR_LAYERS: readonly LayerInput[] = [
  ...ACTIVATIONS.map((activation, index) => ({
    kind: 'dense' as const,
    units: 9 + 7 * index,
    activation,
    bias: index !== 1,
    initializer: index % 2 === 0 ? ('heNormal' as const) : ('glorotUniform' as const),
  })),
  { kind: 'batchNorm' },
  { kind: 'activation', function: 'silu' },
  { kind: 'dropout', rate: 0.3 },
];

/** Both sides of a convolution's weight gradient, groups, vectors and single values, all sorts of pooling. */
const IMAGE_LAYERS: readonly LayerInput[] = [
  { kind: 'reshape', shape: [1, 3, 7] },
  { kind: 'augment', flip: 'both', shift: [1, 2] },
  { kind: 'conv2d', filters: 11, kernelSize: 3, padding: 'same', activation: 'relu' },
  { kind: 'batchNorm' },
  { kind: 'conv2d', filters: 6, kernelSize: 3, padding: 1, activation: 'leakyRelu' },
  { kind: 'avgPool2d', size: 3, stride: 1, padding: 1 },
  { kind: 'conv2d', filters: 6, kernelSize: 3, padding: 1, groups: 6, activation: 'elu' },
  { kind: 'conv2d', filters: 12, kernelSize: [2, 3], padding: [2, 4], dilation: [1, 2], groups: 6 },
  { kind: 'conv2d', filters: 8, kernelSize: 1, groups: 2, stride: [1, 2], activation: 'tanh' },
  { kind: 'maxPool2d', size: [3, 2], stride: 1 },
  { kind: 'globalAvgPool2d' },
  { kind: 'flatten' },
];

/** Layers on sequences of tokens, every byte one. */
const SEQUENCE_LAYERS: readonly LayerInput[] = [
  { kind: 'embedding', vocabulary: 256, units: 10 },
  { kind: 'positionalEmbedding' },
  { kind: 'residual', layers: [{ kind: 'layerNorm' }, { kind: 'attention', heads: 2, causal: true }] },
  {
    kind: 'residual',
    layers: [{ kind: 'dense', units: 7, activation: 'geluTanh' }],
    shortcut: [{ kind: 'dense', units: 7, bias: false }],
  },
  { kind: 'activation', function: 'softmax' },
  { kind: 'lstm', units: 6, returnSequences: true },
  { kind: 'gru', units: 9 },
];

/**
 * Models and losses that one step each is taken of; a dense layer of `NUM_CLASSES`
 * units is added at the end.
 */
export const KNOWN_CASES: readonly { readonly loss: LossInput; readonly layers: readonly LayerInput[] }[] = [
  ...LOSSES.map((loss) => ({ loss, layers: VECTOR_LAYERS })),
  ...[IMAGE_LAYERS, SEQUENCE_LAYERS].map((layers) => ({ loss: 'crossEntropy' as const, layers })),
];

/** The answer of the strict kernels on every machine; it changes with them and with the cases above. */
export const KNOWN_ANSWER = '180c65e344691ea4e09912f8d0d6dfdb4d591918a876e66a00e0f7579edb6c82';

/** SHA-256 over gradients, losses, outputs and updated weights of the known-answer shards. */
export async function knownAnswer(kernelModule: KernelModule): Promise<string> {
  const hash = createHash('sha256');
  for (const { loss, layers } of KNOWN_CASES) {
    for (const bytes of await answer(kernelModule, resolveLoss(loss), layers)) hash.update(bytes);
  }
  return hash.digest('hex');
}

/** The compiled builds of the kernels that a worker can compute with, and what its `hello` says of them. */
export interface KernelBuilds {
  readonly modules: ReadonlyMap<Numerics, KernelModule>;
  readonly identities: KernelIdentities;
}

/** Has the builds that there are compute their answers. */
export async function proveBuilds(
  strict: KernelModule,
  fused: KernelModule | undefined,
): Promise<KernelBuilds> {
  const modules = new Map<Numerics, KernelModule>([['strict', strict]]);
  if (!fused) return { modules, identities: { strict: await identify(strict) } };
  modules.set('fused', fused);
  return { modules, identities: { strict: await identify(strict), fused: await identify(fused) } };
}

async function identify(kernelModule: KernelModule): Promise<KernelIdentity> {
  return { sha256: kernelModule.sha256, knownAnswer: await knownAnswer(kernelModule) };
}

async function answer(
  kernelModule: KernelModule,
  loss: LossSpec,
  hidden: readonly LayerInput[],
): Promise<Uint8Array[]> {
  const layers = [...hidden, { kind: 'dense', units: NUM_CLASSES }].map((layer) => layerSchema.parse(layer));
  const model = resolveModel({ layers }, [INPUT_WIDTH]);
  // Token ids are whole numbers.
  const dataset = sampleDataset(loss, hidden === SEQUENCE_LAYERS ? 1 : 1 / 255);
  const engine = await LocalEngine.create({
    kernelModule,
    model,
    loss,
    seed: SEED,
    dataset,
    batchSize: NUM_ROWS,
    shards: SHARDS,
  });
  return runStep(engine, model);
}

function runStep(engine: LocalEngine, model: Model): Uint8Array[] {
  const { kernels, memory } = engine;
  const config = optimizerSchema.parse({ learningRate: 0.01 });
  const adam = new Optimizer({ kernels, memory, model, config });
  drawWeights(kernels, memory, model, SEED, adam.parameters);
  engine.setWeights(adam.parameters);
  const indices = Uint32Array.from({ length: NUM_ROWS }, (_, row) => (row * 11) % NUM_ROWS);
  const results: Uint8Array[] = [];
  const lossSum = engine.trainBatch(indices, 0, ({ bucket, address }) => {
    const { length } = model.buckets[bucket] ?? { length: 0 };
    results.push(copyBytes(memory, address, length));
    adam.applyBucket(bucket, { sum: address, divisor: NUM_ROWS });
  });
  adam.commit();
  const { outputs, lossSum: evaluated } = engine.evaluateRows(indices, NUM_ROWS);
  results.push(copyBytes(memory, adam.parameters, model.numParameters), new Uint8Array(outputs.buffer));
  results.push(new Uint8Array(Float64Array.of(lossSum, evaluated).buffer));
  return results;
}

function copyBytes(memory: Memory, address: number, length: number): Uint8Array {
  return memory.bytes(address, 4 * length).slice();
}

/**
 * Bytes for features, targets of the kind that the loss wants, and sample weights from 0 to
 * 1.5, all drawn by counter.
 */
function sampleDataset(loss: LossSpec, featureScale: number): PackedDataset {
  const isLabels = loss.kind === 'crossEntropy';
  const layout: RowLayout = {
    numRows: NUM_ROWS,
    featureShape: [INPUT_WIDTH],
    featureType: 'u8',
    featureScale: Math.fround(featureScale),
    targetKind: isLabels ? 'labels' : 'values',
    targetWidth: isLabels ? 1 : NUM_CLASSES,
    numClasses: isLabels ? NUM_CLASSES : 0,
    hasSampleWeights: true,
  };
  const blob = new Uint8Array(blobByteLength(layout));
  const words = new Uint32Array(4);
  const draw = (index: number): number => {
    philox4x32([index, 0, 0, 0], [SEED, 0], words);
    return words[0] as number;
  };
  for (let i = 0; i < NUM_ROWS * INPUT_WIDTH; i++) blob[i] = draw(i) & 255;
  const targets = new Uint32Array(blob.buffer, targetsByteOffset(layout), NUM_ROWS * layout.targetWidth);
  const values = new Float32Array(targets.buffer, targets.byteOffset, targets.length);
  targets.forEach((_, i) => {
    if (isLabels) targets[i] = draw(100_000 + i) % NUM_CLASSES;
    else values[i] = (draw(100_000 + i) >>> 8) / 2 ** 24;
  });
  sampleWeightView({ layout, blob })?.forEach(
    (_, row, sampleWeights) => (sampleWeights[row] = (draw(200_000 + row) >>> 30) / 2),
  );
  return { layout, blob, sha256: hashDataset({ layout, blob }) };
}
