// Rows of a table that a program hands in, as a list or one by one: the bits of the same rows in a file.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { dense, evaluate, loadModel, sequential, train, type Rows } from '../../../api/index.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';

const TOWNS = ['Oslo', 'Bergen', 'Å'];

const rows = Array.from({ length: 60 }, (_, i) => ({
  rooms: 1 + (i % 5),
  ...(i % 7 ? { area: i * 1.1 } : {}),
  town: i % 11 ? TOWNS[i % 3] : null,
  isNew: i % 2 === 0,
  price: 3 * (i % 5) + i / 10,
})) as { rooms: number; price: number }[];

const config = {
  name: 'rows',
  seed: 5,
  model: sequential([dense({ units: 4, activation: 'relu' }), dense({ units: 1 })]),
  loss: 'mse',
  shards: 2,
  batchSize: 16,
  epochs: 2,
  plots: false,
} as const;
const fields = { target: 'price', missing: 'mean' } as const;

function* oneByOne(): Generator<(typeof rows)[number]> {
  yield* rows;
}

async function* comingIn(): AsyncGenerator<(typeof rows)[number]> {
  for (const row of rows) {
    await Promise.resolve();
    yield row;
  }
}

const inTemporary = () => ({ runDirectory: path.join(temporaryDirectory(), 'run'), threads: 1 });

/** The hash of the dataset that a run trained on. */
function datasetOf(directory: string): unknown {
  const [first] = fs.readFileSync(path.join(directory, 'events.jsonl'), 'utf8').split('\n');
  return (JSON.parse(first as string) as Record<string, unknown>)['datasetSha256'];
}

/** Trains on `source` for `data.train`. */
async function trained(source: Rows | string) {
  const { directory, summary } = await train(
    { ...config, data: { train: source, ...fields } },
    { ...inTemporary(), logLevel: 'silent' },
  );
  return { directory, bits: [datasetOf(directory), summary.weightsSha256, summary.test] };
}

describe('rows in memory', () => {
  it('rows, from a list, a generator or an asynchronous one, have the bits of the same rows in a file', async () => {
    const file = path.join(temporaryDirectory(), 'rows.jsonl');
    fs.writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const { bits } = await trained(file);
    for (const source of [rows, oneByOne(), comingIn(), new Set(rows)]) {
      expect((await trained(source)).bits).toEqual(bits);
    }
  });

  it('an evaluation and a resumed run need the rows again, and refuse others', async () => {
    const { directory, bits } = await trained(oneByOne());
    expect(await evaluate(directory, { arrays: [comingIn()] })).toEqual(bits[2]);
    await expect(evaluate(directory)).rejects.toMatchObject({
      code: 'E_DATA_ARRAYS',
      message: expect.stringMatching(
        /^the samples with SHA-256 [0-9a-f]{64} were arrays in a program/,
      ) as string,
    });
    const other = rows.map((row) => ({ ...row, rooms: row.rooms + 1 }));
    await expect(evaluate(directory, { arrays: [other] })).rejects.toMatchObject({
      message: expect.stringMatching(/are not among the given arrays: that of arrays\[0\] is/) as string,
    });
    const data = { train: rows, ...fields };
    const options = {
      ...inTemporary(),
      runDirectory: directory,
      resume: 'last',
      logLevel: 'silent',
    } as const;
    const resumed = await train({ ...config, data, epochs: 2 }, options);
    expect(resumed.summary.weightsSha256).toBe(bits[1]);
  });

  it('new rows are measured as the same rows in a file', async () => {
    const { directory } = await trained(rows);
    const file = path.join(temporaryDirectory(), 'new.jsonl');
    const some = rows.slice(10, 40);
    fs.writeFileSync(file, some.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const model = await loadModel(directory);
    expect(await evaluate(model, { data: some })).toEqual(await evaluate(model, { data: file }));
  });

  it('rows of one split go with a file of another', async () => {
    const file = path.join(temporaryDirectory(), 'test.csv');
    fs.writeFileSync(file, 'rooms,price\n2,3.5\n4,9\n');
    const train_ = rows.map(({ rooms, price }) => ({ rooms, price }));
    const { summary } = await train(
      { ...config, data: { train: train_, test: file, target: 'price' } },
      inTemporary(),
    );
    expect(summary.test?.rmse).toBeTypeOf('number');
  });

  it.each<[string, unknown, object]>([
    ['nothing', oneByOneOf([]), { code: 'E_DATA_NO_ROWS', message: 'data.train gives no rows' }],
    [
      'a list among rows',
      [{ price: 1 }, [2]],
      {
        code: 'E_DATA_ARRAYS',
        message: expect.stringContaining('data.train, row 1: a row is an object') as string,
      },
    ],
    [
      'a text that is no number',
      rows.map((row, i) => (i === 9 ? { ...row, rooms: 'many' } : row)),
      { location: expect.objectContaining({ file: 'data.train, row 9' }) as object },
    ],
    [
      'a nested value',
      rows.map((row, i) => (i === 4 ? { ...row, rooms: { of: 3 } } : row)),
      { code: 'E_DATA_NESTED', location: { file: 'data.train, row 4' } },
    ],
  ])('rows with %s are refused, by name and number', async (_what, train_, error) => {
    const data = { train: train_ as Rows, ...fields };
    await expect(train({ ...config, data }, inTemporary())).rejects.toMatchObject(error);
  });

  it('settings that are for CSV alone are refused for rows', async () => {
    const data = { train: rows, ...fields, delimiter: ';' };
    await expect(train({ ...config, data }, inTemporary())).rejects.toMatchObject({
      code: 'E_CONFIG_FORMAT',
      message: 'data.delimiter is for CSV, and data.train is rows of a program',
    });
  });

  it('an abort ends the wait for rows, and an error of their source passes through', async () => {
    let isClosed = false;
    async function* stalled(): AsyncGenerator<(typeof rows)[number]> {
      try {
        yield* rows;
        throw new Error('the source broke');
      } finally {
        isClosed = true;
      }
    }
    const broken = { train: stalled(), ...fields };
    await expect(train({ ...config, data: broken }, inTemporary())).rejects.toThrow('the source broke');
    expect(isClosed).toBe(true);
    const never: AsyncIterable<(typeof rows)[number]> = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }),
    };
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error('enough')), 50);
    const waiting = train(
      { ...config, data: { train: never, ...fields } },
      { ...inTemporary(), signal: abort.signal },
    );
    await expect(waiting).rejects.toThrow('enough');
  });
});

function* oneByOneOf(list: readonly (typeof rows)[number][]): Generator<(typeof rows)[number]> {
  yield* list;
}
