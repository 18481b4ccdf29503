// Models as ONNX, run by ONNX Runtime from raw inputs: its predictions are Lockstep's own.
import * as ort from 'onnxruntime-web';
import { describe, expect, it } from 'vitest';
import type { TrainConfig } from '../../../../api/train.ts';
import { ACTIVATIONS } from '../../../../src/layers/activation.ts';
import { layerSchema } from '../../../../src/layers/registry.ts';
import type { LayerInput } from '../../../../src/layers/registry.ts';
import type { Cell, Row } from '../../../../src/predict/samples.ts';
import type { Shape } from '../../../../src/shape.ts';
import { sizeOf } from '../../../../src/shape.ts';
import { checkOnnx, loadPair, pythonHas, relativeError } from '../../../helpers/onnx-run.ts';
import type { OnnxPair } from '../../../helpers/onnx-run.ts';
import { saveRun } from '../../../helpers/saved-run.ts';
import { moveWeights } from '../../../helpers/saved-weights.ts';
import { seededRandom } from '../../../helpers/seeded-random.ts';

/** Sums in another order differ by this share of the largest. */
const TOLERANCE = 1e-5;
const NUM_SAMPLES = 12;

/** Files of all tests, for the checker. */
const files: Uint8Array[] = [];

function randomValues(length: number): Float32Array {
  const random = seededRandom(3);
  return Float32Array.from({ length }, () => 4 * random() - 2);
}

/** A model of classes over samples of a shape, with weights unlike those that are drawn. */
async function classifier(
  shape: Shape,
  layers: readonly LayerInput[],
  features: Float32Array | Uint8Array = randomValues(NUM_SAMPLES * sizeOf(shape)),
): Promise<OnnxPair & { readonly features: Float32Array | Uint8Array }> {
  const targets = Array.from({ length: NUM_SAMPLES }, (_, row) => row % 3);
  const config: Omit<TrainConfig, 'name'> = {
    data: {
      train: { features, shape: [NUM_SAMPLES, ...shape], targets },
      classes: 3,
      ...(features instanceof Uint8Array ? {} : { standardize: false }),
    },
    model: { layers: [...layers, { kind: 'dense', units: 3 }] },
    loss: 'crossEntropy',
    batchSize: 4,
    epochs: 1,
  };
  const { directory } = await saveRun({}, config);
  await moveWeights(directory);
  const pair = await loadPair(directory);
  files.push(pair.file);
  return { ...pair, features };
}

/** Compares the outputs of a model of classes for all its samples. */
async function expectEqual(
  { model, session }: OnnxPair,
  input: ort.Tensor,
  samples: Float32Array | Uint8Array,
): Promise<void> {
  const found = await session.run({ [session.inputNames[0] as string]: input });
  const predictions = model.predict(samples).map((prediction) => {
    if (prediction.kind !== 'class') throw new Error('expected classes');
    return prediction;
  });
  const { logits, probabilities, class: classes } = found as Record<string, ort.Tensor>;
  expect(relativeError(logits?.data as Float32Array, model.outputs(samples))).toBeLessThan(TOLERANCE);
  const expected = predictions.flatMap((prediction) => [...prediction.probabilities]);
  expect(relativeError(probabilities?.data as Float32Array, expected)).toBeLessThan(TOLERANCE);
  expect(classes?.data).toEqual(predictions.map((prediction) => prediction.class));
}

/** Layers between the samples and the classes, by the shape of a sample. */
const STACKS: Record<string, { shape: Shape; layers: LayerInput[] }> = {
  'dense without bias': { shape: [7], layers: [{ kind: 'dense', units: 5, bias: false }] },
  'dense at every position, and flatten': {
    shape: [4, 6],
    layers: [{ kind: 'dense', units: 5, activation: 'relu' }, { kind: 'flatten' }],
  },
  'dense on an image': { shape: [2, 3, 4], layers: [{ kind: 'dense', units: 6 }] },
  softmax: { shape: [6], layers: [{ kind: 'activation', function: 'softmax' }] },
  dropout: { shape: [6], layers: [{ kind: 'dropout', rate: 0.5 }] },
  'augment, with and without a crop': {
    shape: [2, 5, 6],
    layers: [
      { kind: 'augment', flip: 'both', shift: 1 },
      { kind: 'augment', crop: [2, 5] },
    ],
  },
  'layerNorm of vectors': { shape: [9], layers: [{ kind: 'layerNorm', epsilon: 1e-3 }] },
  'layerNorm of sequences': {
    shape: [3, 9],
    layers: [{ kind: 'layerNorm' }, { kind: 'flatten' }],
  },
  'batchNorm of vectors': { shape: [9], layers: [{ kind: 'batchNorm', epsilon: 1e-3 }] },
  'batchNorm of images': { shape: [3, 4, 4], layers: [{ kind: 'batchNorm' }] },
  'conv2d with stride, padding and dilation': {
    shape: [3, 9, 8],
    layers: [
      {
        kind: 'conv2d',
        filters: 4,
        kernelSize: [3, 2],
        stride: [2, 1],
        padding: [1, 2],
        dilation: [1, 2],
        activation: 'relu',
      },
    ],
  },
  'conv2d that keeps sizes with an even window, without bias': {
    shape: [2, 7, 7],
    layers: [{ kind: 'conv2d', filters: 3, kernelSize: 4, stride: 3, padding: 'same', bias: false }],
  },
  'conv2d that leaves the last rows out': {
    shape: [1, 8, 9],
    layers: [{ kind: 'conv2d', filters: 2, kernelSize: 3, stride: 4, padding: 'valid' }],
  },
  'depthwise and grouped conv2d': {
    shape: [4, 6, 6],
    layers: [
      { kind: 'conv2d', filters: 8, kernelSize: 3, groups: 4, padding: 'same' },
      { kind: 'conv2d', filters: 6, kernelSize: 1, groups: 2 },
    ],
  },
  maxPool2d: { shape: [2, 7, 6], layers: [{ kind: 'maxPool2d', size: [3, 2], stride: 2, padding: [1, 1] }] },
  avgPool2d: { shape: [2, 8, 6], layers: [{ kind: 'avgPool2d', size: 3, stride: 2, padding: 1 }] },
  globalAvgPool2d: { shape: [5, 4, 3], layers: [{ kind: 'globalAvgPool2d' }] },
  reshape: {
    shape: [24],
    layers: [
      { kind: 'reshape', shape: [2, 3, 4] },
      { kind: 'conv2d', filters: 2, kernelSize: 2 },
    ],
  },
  'positionalEmbedding and attention': {
    shape: [5, 8],
    layers: [{ kind: 'positionalEmbedding' }, { kind: 'attention', heads: 2 }, { kind: 'flatten' }],
  },
  'causal attention': {
    shape: [5, 6],
    layers: [{ kind: 'attention', heads: 3, causal: true }, { kind: 'flatten' }],
  },
  'lstm to its last position': { shape: [6, 5], layers: [{ kind: 'lstm', units: 7 }] },
  'lstm at every position': {
    shape: [6, 5],
    layers: [{ kind: 'lstm', units: 4, returnSequences: true }, { kind: 'flatten' }],
  },
  'gru to its last position': { shape: [6, 5], layers: [{ kind: 'gru', units: 7 }] },
  'gru at every position': {
    shape: [6, 5],
    layers: [{ kind: 'gru', units: 4, returnSequences: true }, { kind: 'flatten' }],
  },
  'residual, nested and with a shortcut': {
    shape: [2, 5, 5],
    layers: [
      {
        kind: 'residual',
        layers: [
          { kind: 'conv2d', filters: 4, kernelSize: 3, padding: 1, activation: 'silu' },
          { kind: 'residual', layers: [{ kind: 'batchNorm' }] },
        ],
        shortcut: [{ kind: 'conv2d', filters: 4, kernelSize: 1 }],
      },
    ],
  },
};

describe('layers as ONNX', () => {
  it.each(Object.entries(STACKS))(
    'ONNX Runtime computes what Lockstep does: %s',
    async (_, { shape, layers }) => {
      const { features, ...pair } = await classifier(shape, layers);
      const input = new ort.Tensor('float32', features as Float32Array, [NUM_SAMPLES, ...shape]);
      await expectEqual(pair, input, features);
    },
  );

  it.each(ACTIVATIONS.filter((name) => name !== 'linear'))(
    'ONNX Runtime applies the activation %s as Lockstep does',
    async (activation) => {
      const layers: LayerInput[] = [
        { kind: 'dense', units: 8, activation },
        { kind: 'activation', function: activation },
      ];
      const { features, ...pair } = await classifier([6], layers);
      await expectEqual(
        pair,
        new ort.Tensor('float32', features as Float32Array, [NUM_SAMPLES, 6]),
        features,
      );
    },
  );

  it('an embedding takes ids as int64', async () => {
    const ids = Float32Array.from({ length: NUM_SAMPLES * 4 }, (_, at) => (at * 7) % 10);
    const layers: LayerInput[] = [{ kind: 'embedding', vocabulary: 10, units: 6 }, { kind: 'flatten' }];
    const pair = await classifier([4], layers, ids);
    expect(pair.session.inputNames).toEqual(['tokens']);
    const tokens = BigInt64Array.from(ids, (id) => BigInt(id));
    await expectEqual(pair, new ort.Tensor('int64', tokens, [NUM_SAMPLES, 4]), ids);
  });

  it('bytes are scaled inside, and any number of samples is taken', async () => {
    const bytes = Uint8Array.from({ length: NUM_SAMPLES * 18 }, (_, at) => (at * 37) % 256);
    const layers: LayerInput[] = [{ kind: 'conv2d', filters: 3, kernelSize: 2 }];
    const pair = await classifier([2, 3, 3], layers, bytes);
    await expectEqual(pair, new ort.Tensor('uint8', bytes, [NUM_SAMPLES, 2, 3, 3]), bytes);
    const one = bytes.subarray(0, 18);
    await expectEqual(pair, new ort.Tensor('uint8', one, [1, 2, 3, 3]), one);
  });

  it('every kind of layer has a test here', () => {
    const kindsOf = (layers: readonly LayerInput[]): string[] =>
      layers.flatMap((layer) =>
        layer.kind === 'residual' ? ['residual', ...kindsOf(layer.layers)] : [layer.kind],
      );
    const tested = new Set(Object.values(STACKS).flatMap(({ layers }) => kindsOf(layers)));
    expect([...tested, 'embedding'].sort()).toEqual(
      layerSchema.options.map(({ shape }) => shape.kind.value).sort(),
    );
  });
});

const STREETS = ['North St', 'Straße', 'Main', 'Ōdōri', 'Elm'];
const GRADES = ['low', 'mid', 'high'];

/** A row of a table with a column of every kind, and cells without a value. */
function tableRow(row: number): Row {
  const isMissing = row % 5 === 4;
  const day = new Date(Date.UTC(1899, 11, 1) + row * 1_234_567_891 * 7);
  return {
    area: isMissing ? null : 1000 + 37.125 * row,
    rooms: row % 6,
    constant: 4,
    wall: isMissing ? null : ['brick', 'wood', 'stone'][row % 3],
    pool: isMissing ? null : row % 2 === 0 ? 'Yes' : 'no',
    grade: isMissing ? null : GRADES[row % 3],
    town: isMissing ? null : row % 7 === 6 ? `Town ${row}` : `Town ${row % 3}`,
    street: isMissing ? null : STREETS[row % 5],
    sold: isMissing ? null : day.toISOString().slice(0, 19),
    built: `${1890 + row}-02-${String(1 + (row % 28)).padStart(2, '0')}`,
  };
}

const NUM_ROWS = 60;
const TABLE_ROWS = Array.from({ length: NUM_ROWS }, (_, row) => tableRow(row));

function tableFile(): string {
  const names = Object.keys(TABLE_ROWS[0] as Row);
  const lines = TABLE_ROWS.map((row, index) => [...names.map((name) => row[name] ?? ''), 50 + (index % 17)]);
  return `${[[...names, 'price'], ...lines].map((cells) => cells.join()).join('\n')}\n`;
}

/** FNV-1a as the description of the input says. */
function bucketOf(text: string, buckets: number): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0) % buckets;
}

/** Rows as the inputs take them: numbers, dates in milliseconds, buckets of hashes, or texts. */
function numberFor(name: string, cell: Cell | undefined): number {
  if (cell === null || cell === undefined) return NaN;
  if (name === 'street') return bucketOf(String(cell), 7);
  if (name === 'sold' || name === 'built') return Date.parse(`${String(cell)}${name === 'sold' ? 'Z' : ''}`);
  return Number(cell);
}

const TEXT_COLUMNS = ['wall', 'pool', 'grade', 'town'];
const NUMBER_COLUMNS = ['area', 'rooms', 'constant', 'street', 'sold', 'built'];

const TABLE_CONFIG: Omit<TrainConfig, 'name'> = {
  data: {
    file: 'table.csv',
    target: 'price',
    targetTransform: ['log', 'standardize'],
    missing: 'mean',
    columns: {
      grade: { kind: 'ordinal', order: GRADES },
      street: { kind: 'hash', buckets: 7 },
      town: { kind: 'embedding', units: 3 },
      pool: 'boolean',
    },
  },
  model: {
    layers: [
      { kind: 'dense', units: 8, activation: 'tanh' },
      { kind: 'dense', units: 1 },
    ],
  },
  loss: 'mse',
  batchSize: 8,
  epochs: 1,
};

describe('tables as ONNX', () => {
  it('every kind of column goes in raw, with cells missing, and the target comes out in its own unit', async () => {
    const { directory } = await saveRun({ 'table.csv': tableFile() }, TABLE_CONFIG);
    const { model, session, file } = await loadPair(directory);
    files.push(file);
    expect([...session.inputNames].sort()).toEqual([...TEXT_COLUMNS, ...NUMBER_COLUMNS].sort());
    const feeds = Object.fromEntries(
      session.inputNames.map((name) => {
        const cells = TABLE_ROWS.map((row) => row[name]);
        const tensor = TEXT_COLUMNS.includes(name)
          ? new ort.Tensor(
              'string',
              cells.map((cell) => String(cell ?? '')),
              [NUM_ROWS, 1],
            )
          : new ort.Tensor(
              'float64',
              Float64Array.from(cells, (cell) => numberFor(name, cell)),
              [NUM_ROWS, 1],
            );
        return [name, tensor];
      }),
    );
    const { predictions } = await session.run(feeds);
    expectPrices(predictions, model.predict(TABLE_ROWS));
  });

  it('grouped inputs hold all numbers in one tensor and all texts in another', async () => {
    const { directory } = await saveRun({ 'table.csv': tableFile() }, TABLE_CONFIG);
    const { model, session, file } = await loadPair(directory, 'grouped');
    files.push(file);
    const numbers = TABLE_ROWS.flatMap((row) => NUMBER_COLUMNS.map((name) => numberFor(name, row[name])));
    const texts = TABLE_ROWS.flatMap((row) => TEXT_COLUMNS.map((name) => String(row[name] ?? '')));
    const { predictions } = await session.run({
      numbers: new ort.Tensor('float64', Float64Array.from(numbers), [NUM_ROWS, NUMBER_COLUMNS.length]),
      texts: new ort.Tensor('string', texts, [NUM_ROWS, TEXT_COLUMNS.length]),
    });
    expectPrices(predictions, model.predict(TABLE_ROWS));
  });

  it('a word that training never saw is no category, and no number where it must stand for one', async () => {
    const { directory } = await saveRun({ 'table.csv': tableFile() }, TABLE_CONFIG);
    const { model, session } = await loadPair(directory, 'grouped');
    const row = { ...tableRow(0), wall: 'straw', town: 'Nowhere' };
    const numbers = Float64Array.from(NUMBER_COLUMNS, (name) => numberFor(name, (row as Row)[name]));
    const run = async (texts: readonly string[]) => {
      const feeds = {
        numbers: new ort.Tensor('float64', numbers, [1, NUMBER_COLUMNS.length]),
        texts: new ort.Tensor('string', [...texts], [1, TEXT_COLUMNS.length]),
      };
      return (await session.run(feeds))['predictions'];
    };
    expectPrices(await run(['straw', 'Yes', 'low', 'Nowhere']), model.predict([row]));
    expect((await run(['straw', 'Yes', 'huge', 'Nowhere']))?.data).toEqual(Float64Array.of(NaN));
    expect((await run(['straw', 'perhaps', 'low', 'Nowhere']))?.data).toEqual(Float64Array.of(NaN));
  });

  it('two classes of binaryCrossEntropy have a class and two probabilities', async () => {
    const lines = Array.from({ length: 40 }, (_, row) => `${row % 7},${row % 3},${row % 2 ? 'on' : 'off'}`);
    const { directory } = await saveRun(
      { 'table.csv': `class,b,state\n${lines.join('\n')}\n` },
      {
        data: { file: 'table.csv', target: 'state' },
        model: { layers: [{ kind: 'dense', units: 1 }] },
        loss: 'binaryCrossEntropy',
        batchSize: 8,
        epochs: 1,
      },
    );
    const { model, session, file } = await loadPair(directory);
    files.push(file);
    // A column has the name of an output, which gets another.
    expect(session.outputNames).toEqual(['class_1', 'probabilities', 'logits']);
    const column = (values: readonly number[]) =>
      new ort.Tensor('float64', Float64Array.from(values), [4, 1]);
    const rows = [0, 3, 5, 6].map((value) => ({ class: value, b: value % 3 }));
    const found = await session.run({
      class: column(rows.map((row) => row.class)),
      b: column(rows.map((row) => row.b)),
    });
    const expected = model.predict(rows);
    expect(found['class_1']?.data).toEqual(
      expected.map((prediction) => (prediction.kind === 'class' ? prediction.class : '')),
    );
    const probabilities = expected.flatMap((prediction) =>
      prediction.kind === 'class' ? [...prediction.probabilities] : [],
    );
    expect(relativeError(found['probabilities']?.data as Float32Array, probabilities)).toBeLessThan(
      TOLERANCE,
    );
  });

  it('arrays that were standardized are standardized inside', async () => {
    const features = Float32Array.from({ length: 40 * 3 }, (_, at) => 1e4 + ((at * 7) % 11));
    const targets = Float64Array.from({ length: 80 }, (_, at) => 3 + ((at * 5) % 13));
    const { directory } = await saveRun(
      {},
      {
        data: { train: { features, shape: [40, 3], targets }, targetTransform: ['standardize'] },
        model: { layers: [{ kind: 'dense', units: 2 }] },
        loss: 'mse',
        batchSize: 8,
        epochs: 1,
      },
    );
    const { model, session, file } = await loadPair(directory);
    files.push(file);
    const samples = new ort.Tensor('float64', Float64Array.from(features), [40, 3]);
    const { predictions } = await session.run({ samples });
    const expected = model
      .predict(features)
      .flatMap((prediction) => (prediction.kind === 'values' ? Object.values(prediction.values) : []));
    expect(relativeError(predictions?.data as Float64Array, expected)).toBeLessThan(TOLERANCE);
  });
});

function expectPrices(
  found: ort.Tensor | undefined,
  predictions: ReturnType<OnnxPair['model']['predict']>,
): void {
  const expected = predictions.map((prediction) =>
    prediction.kind === 'values' ? (prediction.values['price'] as number) : NaN,
  );
  expect(relativeError(found?.data as Float64Array, expected)).toBeLessThan(TOLERANCE);
}

const hasChecker = pythonHas('onnx');

it.skipIf(!hasChecker)(
  `ONNX's own checker accepts all of these files${hasChecker ? '' : ' (not here: Debian package python3-onnx missing)'}`,
  () => {
    expect(files.length).toBeGreaterThan(30);
    checkOnnx(files);
  },
);
