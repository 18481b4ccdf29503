// Batch normalization over batches that do not divide into shards, and epochs that do not divide into
// batches: 20 steps against PyTorch 1.13.1 (scripts/golden/batch_norm.py wrote the values).
import { describe, expect, it } from 'vitest';
import type { LayerInput } from '../../src/layers/registry.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import { planEngine } from '../../src/engine/plan.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { resolveModel } from '../../src/model/model.ts';
import { Golden, readRecorded } from '../helpers/golden.ts';
import { expectLosses, expectWeights, trainGolden } from '../helpers/golden-training.ts';
import { packSamples, randomValues } from '../helpers/twins/samples.ts';
import { expectSameBits } from './arena.ts';

const MLP: LayerInput[] = [
  { kind: 'dense', units: 16, bias: false },
  { kind: 'batchNorm' },
  { kind: 'activation', function: 'relu' },
  { kind: 'dense', units: 3 },
];

const CNN: LayerInput[] = [
  { kind: 'conv2d', filters: 4, kernelSize: 3, padding: 'same', bias: false },
  { kind: 'batchNorm' },
  { kind: 'activation', function: 'relu' },
  { kind: 'flatten' },
  { kind: 'dense', units: 3 },
];

type Recorded = Readonly<Record<string, { readonly batchSize: number; readonly losses: readonly number[] }>>;

describe('20 steps with batchNorm', () => {
  const recorded = readRecorded<Recorded>('batch-norm');

  it.each([
    // 16, 16, 16 and 2 rows.
    { what: 'with one shard', name: 'one', layers: MLP, shards: 1 },
    // 34, 33 and 33 rows, twice; then 45 rows in one shard.
    { what: 'with shards weighted by their rows', name: 'several', layers: MLP, shards: 3 },
    // 4, 3, 3, 3 and 3 rows, twice; then 4, 4 and 3.
    { what: 'with shards smaller than the default', name: 'small', layers: MLP, shards: 5 },
    // 3, 3 and 1 images of 5 by 7.
    { what: 'on images, with a last batch of one', name: 'images', layers: CNN, shards: 1 },
  ])(
    '20 steps with batchNorm agree with PyTorch in weights, running statistics and evaluation $what',
    async ({ name, layers, shards }) => {
      const golden = new Golden(`batch-norm-${name}`);
      const { batchSize, losses } = recorded[name] ?? { batchSize: 0, losses: [] };
      const { values: features, shape } = golden.tensor('features');
      const [numRows = 0, ...featureShape] = shape;
      const model = resolveModel({ layers: layers.map((layer) => layerSchema.parse(layer)) }, featureShape);
      const featureWidth = features.length / numRows;
      const packed = packSamples({
        featureWidth,
        features,
        targets: golden.values('targets'),
        numClasses: 0,
      });
      const trained = await trainGolden({
        model,
        loss: 'mse',
        dataset: { ...packed, layout: { ...packed.layout, featureShape } },
        initial: golden.file('initial.'),
        batchSize,
        shards,
        learningRate: 1e-3,
        numSteps: losses.length,
      });
      // Rounding differences feed back through the weights; a wrong formula shows at 1e-3, the size of one
      // step.
      expectLosses(trained, losses, 1e-5);
      expectWeights(trained, golden.under('final.'), 2e-5);
      const rows = Uint32Array.from({ length: numRows }, (_, i) => i);
      const { outputs } = trained.engine.evaluateRows(rows, numRows);
      const worst = golden
        .values('evaluated')
        .reduce((most, value, i) => Math.max(most, Math.abs(value - (outputs[i] as number))), 0);
      expect(worst).toBeLessThan(2e-5);
    },
  );
});

describe('a short batch with a single shard', () => {
  const ROWS = 63;
  // So wide that a microbatch has room for one full shard but not for two.
  const layers: LayerInput[] = [
    { kind: 'dense', units: 40_000, bias: false },
    { kind: 'batchNorm' },
    { kind: 'dense', units: 1 },
  ];
  const model = resolveModel({ layers: layers.map((layer) => layerSchema.parse(layer)) }, [1]);
  const [features, targets] = [randomValues(1, ROWS), randomValues(2, ROWS)];
  const dataset = packSamples({ featureWidth: 1, features, targets, numClasses: 0 });

  /** Sums of a step on all rows, by an engine that is laid out for such batches. */
  async function sumsOf(batchSize: number, shards: number): Promise<Float32Array> {
    const kernelModule = await loadKernelModule();
    const engine = await LocalEngine.create({
      kernelModule,
      model,
      loss: 'mse',
      seed: 0,
      dataset,
      batchSize,
      shards,
    });
    const { memory } = engine;
    const flat = memory.allocate(4 * model.numParameters, 'weights');
    memory.f32(flat, model.numParameters).set(randomValues(3, model.numParameters));
    engine.setWeights(flat);
    const sums = new Float32Array(model.numParameters);
    const indices = Uint32Array.from({ length: ROWS }, (_, row) => row);
    engine.trainBatch(indices, 0, ({ bucket, address }) => {
      const { offset, length } = model.buckets[bucket] ?? { offset: 0, length: 0 };
      sums.set(memory.f32(address, length), offset);
    });
    return sums;
  }

  it('a short batch with a single shard that is larger than those of a full batch fits in the engine', async () => {
    expect(planEngine(model, { batchSize: 64, shards: 2 })).toMatchObject({ maxShards: 1, maxRows: ROWS });
    const expected = await sumsOf(ROWS, 1);
    expectSameBits(await sumsOf(64, 2), expected, 'two shards of 32');
  });
});
