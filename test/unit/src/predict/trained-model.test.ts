// A trained model in use: exactly the saved weights, the outputs that a run measures, and
// clear errors for wrong rows.
import { describe, expect, it } from 'vitest';
import type { Samples } from '../../../../src/data/array/arrays.ts';
import { featureView } from '../../../../src/data/dataset/packed-dataset.ts';
import { inverseTarget, type FittedFeature } from '../../../../src/data/dataset/transforms.ts';
import type { LossKind } from '../../../../src/losses/registry.ts';
import { encodeSamples, type Pixels, type PredictInput } from '../../../../src/predict/samples.ts';
import { loadModel } from '../../../../src/predict/load-model.ts';
import type { TrainedModel } from '../../../../src/predict/trained-model.ts';
import { errorText, saveRun, type SavedRun } from '../../../helpers/saved-run.ts';

const NO_SPLIT = { split: { validation: 0, test: 0 }, shuffle: false } as const;

const CELLS = Array.from({ length: 60 }, (_, row) => ({
  rooms: (row * 7) % 11,
  wall: ['brick', 'wood', 'a "b", c'][row % 3] as string,
  area: ((row * 37) % 100) / 4,
  price: 100 + row * row,
}));

function tableOf(rows: readonly object[]): string {
  const quote = (cell: unknown): string => `"${String(cell).replaceAll('"', '""')}"`;
  return [Object.keys(rows[0] as object), ...rows.map((row): unknown[] => Object.values(row))]
    .map((cells) => `${cells.map(quote).join()}\n`)
    .join('');
}

function saveTable(
  data: object = {},
  { loss = 'mse', rows = CELLS }: { loss?: LossKind; rows?: readonly object[] } = {},
): Promise<SavedRun> {
  return saveRun(
    { 'table.csv': tableOf(rows) },
    {
      data: {
        file: 'table.csv',
        target: 'price',
        targetTransform: ['log', 'standardize'],
        ...NO_SPLIT,
        ...data,
      },
      model: {
        layers: [
          { kind: 'dense', units: 7, activation: 'gelu' },
          { kind: 'batchNorm' },
          { kind: 'dropout', rate: 0.5 },
          { kind: 'dense', units: 1 },
        ],
      },
      loss,
      batchSize: 16,
    },
  );
}

async function loadAndWarn(run: SavedRun): Promise<{ model: TrainedModel; warnings: string[] }> {
  const warnings: string[] = [];
  const model = await loadModel(run.directory, { warn: (message) => warnings.push(message) });
  return { model, warnings };
}

describe('the outputs of a trained model', () => {
  it('the outputs have the same bits as an evaluation, for any number of samples at once', async () => {
    const run = await saveTable();
    const { model } = await loadAndWarn(run);
    const features = featureView(run.prepared.data.dataset);
    expect(model.outputs(features)).toEqual(run.outputs);
    expect(model.outputs(features.subarray(5))).toEqual(run.outputs.subarray(1));
    const many = new Float32Array(features.length * 40);
    for (let copy = 0; copy < 40; copy++) many.set(features, copy * features.length);
    expect(model.outputs(many).subarray(-60)).toEqual(run.outputs);
    expect(model.outputs(new Float32Array(0))).toEqual(new Float32Array(0));
  });

  it('the outputs are the same for bytes of images and for their scaled values, of a length that fits', async () => {
    const pixels = Uint8Array.from({ length: 6 * 6 }, (_, at) => (at * 91) % 256);
    const run = await saveRun(
      {
        'images.idx': Uint8Array.of(...[0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, 3], ...pixels),
        'labels.idx': Uint8Array.of(...[0, 0, 8, 1, 0, 0, 0, 6], ...[0, 1, 2, 0, 1, 2]),
      },
      {
        data: { train: { images: 'images.idx', labels: 'labels.idx' }, ...NO_SPLIT },
        model: { layers: [{ kind: 'flatten' }, { kind: 'dense', units: 3 }] },
        loss: 'crossEntropy',
        batchSize: 2,
        shards: 2,
      },
    );
    const { model } = await loadAndWarn(run);
    expect(model.inputShape).toEqual([1, 2, 3]);
    const scaled = Float32Array.from(pixels, (pixel) => pixel * Math.fround(1 / 255));
    expect(model.outputs(pixels)).toEqual(run.outputs);
    expect(model.outputs(scaled)).toEqual(run.outputs);
    const predictions = model.predict(pixels);
    expect(predictions).toHaveLength(6);
    for (const [row, prediction] of predictions.entries()) {
      if (prediction.kind !== 'class') throw new Error('no class was predicted');
      const logits = [...run.outputs.subarray(3 * row, 3 * row + 3)];
      const powers = logits.map((logit) => Math.exp(logit));
      const sum = powers.reduce((a, b) => a + b);
      expect(prediction.index).toBe(logits.indexOf(Math.max(...logits)));
      expect(prediction.class).toBe(String(prediction.index));
      powers.forEach((power, k) => expect(prediction.probabilities[k]).toBeCloseTo(power / sum, 12));
    }
    expect(model.predict(new Uint8ClampedArray(pixels) as object as PredictInput)).toEqual(predictions);
    const wrongType = 'error[E_DATA_FORMAT]: the samples: expected a Float32Array or a Uint8Array, got ';
    expect(
      await errorText(run.cwd, () => model.outputs(Float64Array.from(pixels) as object as Uint8Array)),
    ).toBe(`${wrongType}a Float64Array`);
    expect(await errorText(run.cwd, () => model.outputs(pixels.subarray(1)))).toBe(
      'error[E_DATA_SHAPE]: 35 values are not a whole number of samples of 1x2x3',
    );
  });
});

describe('images as a canvas has them', () => {
  /** Pixels of red, green and blue, and an alpha. */
  const image = (width: number, height: number, ...colours: readonly number[][]): Pixels => ({
    width,
    height,
    data: Uint8ClampedArray.from(colours.flatMap((colour) => [...colour, 7])),
  });
  const fitted = (...shape: readonly number[]): FittedFeature => ({ kind: 'pixels', shape, scale: 1 / 255 });

  it('images as a canvas has them become bytes, channels first, without alpha', () => {
    const images = [image(2, 1, [1, 2, 3], [4, 5, 6]), image(2, 1, [7, 8, 9], [10, 11, 12])];
    expect([...encodeSamples(images, fitted(3, 1, 2))]).toEqual([1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12]);
    const grey = [image(1, 2, [1, 1, 1], [2, 2, 2])];
    for (const shape of [
      [2, 1],
      [1, 2, 1],
    ])
      expect([...encodeSamples(grey, fitted(...shape))]).toEqual([1, 2]);
  });

  it.each<[string, unknown, string]>([
    [
      'of another size',
      [image(2, 1, [1, 1, 1], [2, 2, 2])],
      'image 0: expected ImageData of 1x2 pixels, got 2x1, 8 bytes\n  help: draw it on a canvas of that size',
    ],
    [
      'with too few bytes',
      [image(1, 2, [1, 1, 1])],
      'image 0: expected ImageData of 1x2 pixels, got 1x2, 4 bytes\n  help: draw it on a canvas of that size',
    ],
    [
      'that are lists of numbers',
      [[1, 2]],
      'image 0: expected ImageData of 1x2 pixels, got a list of 2\n  help: draw it on a canvas of that size',
    ],
    [
      'that are null',
      [null],
      'image 0: expected ImageData of 1x2 pixels, got null\n  help: draw it on a canvas of that size',
    ],
    [
      'in colour, where the model takes grey',
      [image(1, 2, [1, 1, 1], [2, 2, 3])],
      'image 0: pixel [1,0] is 2, 2, 3; the model takes grey\n' +
        '  help: turn colours into grey as your training images were',
    ],
  ])('images %s are refused', async (_, images, message) => {
    const encode = (): unknown => encodeSamples(images as PredictInput, fitted(2, 1));
    expect(await errorText('', encode)).toBe(`error[E_DATA_SHAPE]: ${message}`);
  });
});

describe('rows of a table', () => {
  it('rows of a table are predicted as the training data were, in the unit of the target', async () => {
    const run = await saveTable();
    const { model, warnings } = await loadAndWarn(run);
    const { data, math } = run.prepared;
    const prices = Array.from(run.outputs, (output) => inverseTarget(data.transforms, 0, output, math));
    const expected = prices.map((price) => ({ kind: 'values', values: { price } }));
    expect(model.predict(CELLS)).toEqual(expected);
    const asTexts = CELLS.map(({ wall, rooms, area }) => ({ area: String(area), wall, rooms: `${rooms}.0` }));
    expect(model.predict(asTexts)).toEqual(expected);
    expect([...model.predictEach(CELLS.slice(3, 5))]).toEqual(expected.slice(3, 5));
    expect(warnings).toEqual([]);
  });

  it('texts that training never saw are encoded as zeros, with a warning', async () => {
    const run = await saveTable();
    const { model, warnings } = await loadAndWarn(run);
    const [first] = CELLS;
    const [prediction] = model.predict([{ ...first, wall: 'glass' }]);
    const features = featureView(run.prepared.data.dataset).slice(0, 5);
    // The order is rooms, the three walls in the order of their code units, and area.
    expect([...features.subarray(1, 4)]).toEqual([0, 1, 0]);
    features.fill(0, 1, 4);
    const { data, math } = run.prepared;
    const price = inverseTarget(data.transforms, 0, model.outputs(features)[0] as number, math);
    expect(prediction).toEqual({ kind: 'values', values: { price } });
    expect(warnings).toEqual(['column "wall": 1 row with a value that training never saw; encoded as zeros']);
  });

  it('rows may lack values if training has learnt a fill for them', async () => {
    const run = await saveTable({ missing: 'mean' });
    const { model } = await loadAndWarn(run);
    const mean = CELLS.reduce((sum, { area }) => sum + area, 0) / CELLS.length;
    const [missing, filled] = model.predict([
      { ...CELLS[0], area: null },
      { ...CELLS[0], area: mean },
    ]);
    expect(missing).toEqual(filled);
  });

  it.each<[string, PredictInput, string]>([
    [
      'without a column',
      [CELLS[0] as object as Record<string, number>, { rooms: 1, wall: 'wood' }],
      'error[E_DATA_COLUMNS]: row 1 has no column "area", which the model was trained on\n' +
        '  help: give it a value, or null where the value is missing',
    ],
    [
      'without a value',
      [
        { rooms: 1, wall: 'wood', area: 2 },
        { rooms: 1, wall: 'wood', area: null },
      ],
      'error[E_DATA_MISSING]: row 1: column "area": 1 of 2 cells missing ("" 1)\n' +
        '  help: fill it in, or train with data.missing: mean',
    ],
    [
      'with a text for a number',
      [{ rooms: 'many', wall: 'wood', area: 2 }],
      'error[E_DATA_NOT_A_NUMBER]: row 0: column "rooms": "many" is not a number (1 of 1 cell)',
    ],
    [
      'that are a single row instead of a list',
      CELLS[0] as object as PredictInput,
      'error[E_DATA_FORMAT]: the rows: expected a list of objects by column name, got an object',
    ],
    [
      'that are null',
      null as unknown as PredictInput,
      'error[E_DATA_FORMAT]: the rows: expected a list of objects by column name, got null',
    ],
    [
      'with null among them',
      [null] as object as PredictInput,
      'error[E_DATA_FORMAT]: row 0: expected an object by column name, got null',
    ],
    [
      'with an object for a value',
      [{ rooms: 1, wall: new Date(), area: 2 }] as object as PredictInput,
      'error[E_DATA_FORMAT]: row 0: column "wall": expected a number, a text, true, false or null, got a Date',
    ],
    [
      'that are encoded and hold a NaN',
      Float32Array.of(1, 0, 0, 1, 2, 1, 0, 0, NaN, 2),
      'error[E_DATA_NOT_A_NUMBER]: samples, row 1 at [3] is NaN\n' +
        '  help: fill it in, or leave the sample out',
    ],
    [
      'as bytes',
      new Uint8Array(5),
      'error[E_DATA_FORMAT]: the model takes rows of a table, not bytes\n' +
        '  help: give rows as objects by column name, or encoded features as a Float32Array',
    ],
  ])('rows of a table %s are refused', async (_, input, message) => {
    const run = await saveTable();
    const { model } = await loadAndWarn(run);
    expect(await errorText(run.cwd, () => model.predict(input))).toBe(message);
  });
});

describe('samples in the form of the training arrays', () => {
  const rows = CELLS.map(({ rooms, area }) => [rooms, area]);
  const saveArrays = (features: Samples['features'], shape: Samples['shape']): Promise<SavedRun> =>
    saveRun(
      {},
      {
        data: { train: { features, shape, targets: CELLS.map(({ price }) => price) }, ...NO_SPLIT },
        model: { layers: [{ kind: 'dense', units: 1 }] },
        loss: 'mse',
        batchSize: 16,
      },
    );
  const valuesOf = (outputs: Float32Array): unknown[] =>
    Array.from(outputs, (target) => ({ kind: 'values', values: { target } }));

  it('samples are predicted by the fitted transforms, as rows or in one list', async () => {
    const run = await saveArrays(rows, undefined);
    const { model } = await loadAndWarn(run);
    expect(model.inputShape).toEqual([2]);
    expect(model.predict(rows)).toEqual(valuesOf(run.outputs));
    expect(model.predict(Float32Array.from(rows.flat()))).toEqual(valuesOf(run.outputs));
    expect(model.outputs(featureView(run.prepared.data.dataset))).toEqual(run.outputs);
  });

  it('samples of bytes are scaled before they are predicted', async () => {
    const bytes = Uint8Array.from(rows.flat());
    const run = await saveArrays(bytes, [60, 2]);
    const { model } = await loadAndWarn(run);
    expect(model.predict(bytes)).toEqual(valuesOf(run.outputs));
    const scaled = Float32Array.from(bytes, (byte) => byte * Math.fround(1 / 255));
    expect(model.predict(scaled)).toEqual(valuesOf(run.outputs));
  });

  it.each<[string, PredictInput, string]>([
    [
      'by column name',
      [{ rooms: 1, area: 2 }],
      'error[E_DATA_FORMAT]: the model takes arrays, not rows by column name\n' +
        '  help: give a Float32Array, or rows of numbers, with the values of a sample in their order',
    ],
    [
      'with a NaN',
      [
        [1, 2],
        [3, NaN],
      ],
      'error[E_DATA_NOT_A_NUMBER]: samples, row 1 at [1] is NaN\n' +
        '  help: fill it in, or leave the sample out',
    ],
    [
      'with an infinite value',
      Float32Array.of(Infinity, 1),
      'error[E_DATA_OVERFLOW]: samples, row 0 at [0] is Infinity, which does not fit float32 (max 3.4e38)',
    ],
    [
      'with a value beyond float32',
      [[1e300, 1]],
      'error[E_DATA_OVERFLOW]: samples, row 0 at [0] is 1e+300, which does not fit float32 (max 3.4e38)',
    ],
    [
      'that are null instead of numbers',
      null as unknown as PredictInput,
      'error[E_DATA_ARRAYS]: samples: expected numbers or rows of numbers, got null',
    ],
    [
      'of too many values',
      [[1, 2, 3, 4]],
      'error[E_DATA_SHAPE]: the samples have 4 values, the model takes 2',
    ],
    [
      'as bytes',
      new Uint8Array(4),
      'error[E_DATA_FORMAT]: the model takes numbers, not bytes\n' +
        '  help: give a Float32Array, or rows of numbers',
    ],
  ])('samples %s are refused', async (_, input, message) => {
    const run = await saveArrays(rows, undefined);
    const { model } = await loadAndWarn(run);
    expect(await errorText(run.cwd, () => model.predict(input))).toBe(message);
  });
});

describe('a prediction that is not finite', () => {
  const rows = Array.from({ length: 60 }, (_, row) =>
    Array.from({ length: 64 }, (__, at) => ((row * 7 + at) % 11) / 1e3),
  );
  const saveWide = (loss: LossKind, numClasses: number): Promise<SavedRun> =>
    saveRun(
      {},
      {
        data: {
          train: { features: rows, targets: rows.map((_, row) => row % 3) },
          ...(numClasses > 1 && { classes: numClasses }),
          standardize: false,
          ...NO_SPLIT,
        },
        model: {
          layers: [
            { kind: 'dense', units: 64 },
            { kind: 'dense', units: numClasses },
          ],
        },
        loss,
        batchSize: 16,
      },
    );

  it.each<[LossKind, number]>([
    ['mse', 1],
    ['crossEntropy', 3],
  ])('a prediction that is not finite is an error that names the row (%s)', async (loss, numClasses) => {
    const run = await saveWide(loss, numClasses);
    const { model } = await loadAndWarn(run);
    const extreme = [rows[0] as number[], Array.from({ length: 64 }, () => 3.4e38)];
    expect(await errorText(run.cwd, () => model.predict(extreme))).toMatch(
      /^error\[E_DATA_OVERFLOW\]: row 1: the outputs of the model are not finite \((NaN|-?Infinity)\)\n {2}help: /,
    );
    expect(model.predict(extreme.slice(0, 1))).toHaveLength(1);
  });

  it('a prediction is also an error if only the inverse of a transform overflows', async () => {
    const run = await saveTable();
    const { model } = await loadAndWarn(run);
    const [row] = CELLS;
    expect(
      await errorText(run.cwd, () =>
        model.predict([
          { ...row, area: 1e9 },
          { ...row, area: -1e9 },
        ]),
      ),
    ).toMatch(/^error\[E_DATA_OVERFLOW\]: row [01]: the predictions are not finite \(Infinity\)\n/);
  });

  it('a value that overflows when it is standardized is refused before it is predicted', async () => {
    const run = await saveRun(
      {},
      {
        data: { train: { features: rows, targets: rows.map(() => 1) }, ...NO_SPLIT },
        model: { layers: [{ kind: 'dense', units: 1 }] },
        loss: 'mse',
        batchSize: 16,
      },
    );
    const { model } = await loadAndWarn(run);
    expect(
      await errorText(run.cwd, () =>
        model.predict([Array.from({ length: 64 }, (_, at) => (at === 1 ? 3e38 : 0))]),
      ),
    ).toMatch(
      /^error\[E_DATA_OVERFLOW\]: samples, row 0 at \[1\] is 3e\+38; standardized it does not fit float32/,
    );
  });
});

describe('a binary prediction', () => {
  it('a binary prediction is a class with two probabilities', async () => {
    const rows = CELLS.map(({ price, ...rest }) => ({ ...rest, price: price > 1000 ? 'dear' : 'cheap' }));
    const run = await saveTable({ targetTransform: [] }, { loss: 'binaryCrossEntropy', rows });
    const { model } = await loadAndWarn(run);
    for (const [row, prediction] of model.predict(rows).entries()) {
      if (prediction.kind !== 'class') throw new Error('no class was predicted');
      const logit = run.outputs[row] as number;
      expect(prediction.class).toBe(logit > 0 ? 'dear' : 'cheap');
      expect(prediction.probabilities[1]).toBeCloseTo(1 / (1 + Math.exp(-logit)), 12);
      expect((prediction.probabilities[0] as number) + (prediction.probabilities[1] as number)).toBeCloseTo(
        1,
        12,
      );
    }
  });
});

describe('the prediction of a text', () => {
  it('the next byte of a text is predicted from the outputs at its last position', async () => {
    const text = 'abcabdabe'.repeat(6);
    const run = await saveRun(
      { 'text.txt': text },
      {
        data: { train: { text: 'text.txt' }, context: 4, ...NO_SPLIT },
        model: {
          layers: [
            { kind: 'embedding', vocabulary: 256, units: 3 },
            { kind: 'dense', units: 256 },
          ],
        },
        loss: 'crossEntropy',
        batchSize: 4,
        shards: 2,
      },
    );
    const { model } = await loadAndWarn(run);
    const bytes = Buffer.from('abcdzzzd');
    const outputs = model.outputs(bytes);
    expect(outputs).toHaveLength(2 * 4 * 256);
    const last = outputs.subarray(3 * 256, 4 * 256);
    const [first, second] = model.predict(bytes);
    if (first?.kind !== 'class' || second?.kind !== 'class') throw new Error('no class was predicted');
    expect(first.index).toBe(last.indexOf(Math.max(...last)));
    // The embedding sees one byte at a time, and both texts end in the same byte.
    expect(second).toEqual(first);
  });
});
