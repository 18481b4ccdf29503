// The decisions of `lockstep init`, on small tables in files: what each column becomes, what the target is,
// and a config whose fields say so.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../../../src/config/schema.ts';
import { parseConfigText } from '../../../../src/config/config-text.ts';
import { validateConfig } from '../../../../src/config/validate.ts';
import { chooseColumns } from '../../../../src/inspect/choose-columns.ts';
import { encodeNpz } from '../../../../src/data/array/npy-file.ts';
import { draftConfig } from '../../../../src/inspect/draft-config.ts';
import type { DraftOptions } from '../../../../src/inspect/draft-choices.ts';
import type { DraftConfig } from '../../../../src/inspect/draft-config.ts';
import { findData } from '../../../../src/inspect/find-data.ts';
import { guessTargets } from '../../../../src/inspect/guess-target.ts';
import { scanTable } from '../../../../src/inspect/scan-table.ts';
import { ROOT } from '../../../helpers/cli.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const ROWS = 60;

/** Writes a table of 60 rows; `cells` gives those of row i. */
function writeTable(
  header: string,
  cells: (row: number) => readonly (string | number)[],
  delimiter = ',',
): string {
  const file = path.join(temporaryDirectory(), 'table.csv');
  const rows = Array.from({ length: ROWS }, (_, row) => cells(row).join(delimiter));
  fs.writeFileSync(file, [...(header === '' ? [] : [header]), ...rows, ''].join('\n'));
  return file;
}

async function draft(file: string, options: Partial<DraftOptions>): Promise<DraftConfig> {
  return draftConfig(await findData(file), { name: 't', directory: path.dirname(file), ...options });
}

/** A column that is neither constant, nor counts, nor repeats another. */
const mixed = (row: number): number => (row * 37) % 23;
const town = (row: number): string => ['Oslo', 'Rome', 'Bonn'][(row * 7) % 3] as string;

async function usesOf(file: string, target: string): Promise<Record<string, string>> {
  const choices = chooseColumns(await scanTable(file), target);
  return Object.fromEntries(choices.map(({ facts, becomes, why }) => [facts.name, why ?? becomes]));
}

describe('what columns become', () => {
  it('columns that teach nothing are left out, each for its reason', async () => {
    const file = writeTable('row,user_id,name,same,none,y', (row) => [
      ...[row + 1, 1000 + ((row * 31) % 61), `n${row}`, 'x', '', mixed(row)],
    ]);
    expect(await usesOf(file, 'y')).toEqual({
      row: 'counts the rows',
      user_id: 'numbers the rows, by its name an identifier',
      name: '60 texts in 60 rows: names, or identifiers',
      same: 'has one value',
      none: 'has no values',
      y: 'the target',
    });
  });

  it('whole numbers above 2^53 are texts, as which they differ, and larger quantities are numbers', async () => {
    const long = (row: number): string => String(9_007_199_254_740_993n * 1000n + BigInt(row));
    const file = writeTable('user,group,mass,y', (row) => [
      ...[long(row), long(row % 7), `${row}e23`, mixed(row)],
    ]);
    expect(await usesOf(file, 'y')).toEqual({
      user: '60 texts in 60 rows: names, or identifiers',
      group: 'one of 7',
      mass: 'a number',
      y: 'the target',
    });
    const [user, group] = chooseColumns(await scanTable(file), 'y');
    const note = 'whole numbers above 2^53, which are no exact numbers: they are read as texts';
    expect([user?.warnings, group?.warnings]).toEqual([[note], [note]]);
    const { config } = await draft(file, { target: 'y' });
    expect(config.data).toMatchObject({ drop: ['user'], columns: { group: { kind: 'categorical' } } });
  });

  it('a column that repeats another in other words is left out', async () => {
    const file = writeTable('town,code,y', (row) => [town(row), town(row).charAt(0), mixed(row)]);
    expect(await usesOf(file, 'y')).toEqual({
      town: 'one of 3',
      code: 'tells the same as "town"',
      y: 'the target',
    });
  });

  it('dates, booleans, numbers in disguise and mixtures are told apart', async () => {
    const file = writeTable('sold,paid,open,price,shoe,y', (row) => [
      ...[`${(row % 28) + 1}.0${(row % 9) + 1}.2024`, `2024-01-${10 + (row % 20)}`],
      ...[row % 2 === 0 ? 'yes' : 'no', `$${row % 7}`, row % 3 === 0 ? 'large' : row % 5, mixed(row)],
    ]);
    expect(await usesOf(file, 'y')).toEqual({
      sold: 'dates as day, month, year',
      paid: 'a date',
      open: 'yes or no',
      price: '"$0" is a number with a currency sign: write plain numbers',
      shoe: 'one of 6',
      y: 'the target',
    });
  });

  it('a feature that correlates with the target, or settles it, is warned of and kept', async () => {
    const file = writeTable('euros,grade,town,y', (row) => [
      ...[(mixed(row) * 1.1).toFixed(3), `g${row % 4}`, town(row), mixed(row)],
    ]);
    const choices = chooseColumns(await scanTable(file), 'y');
    expect(choices.map(({ use, warnings }) => [use, warnings])).toEqual([
      ['feature', ['may give the target away: it correlates with the target by 1.0000']],
      ['feature', []],
      ['feature', []],
      ['target', []],
    ]);
    const ofClass = writeTable('grade,x,y', (row) => [
      `g${row % 4}`,
      mixed(row),
      row % 2 === 0 ? 'even' : 'odd',
    ]);
    const [grade] = chooseColumns(await scanTable(ofClass), 'y');
    expect(grade?.warnings).toEqual([
      'may give the target away: it has one value of the target for each of its own',
    ]);
  });
});

describe('how a table is read', () => {
  it('semicolons, decimal commas and a missing header are found out', async () => {
    const comma = writeTable('a;b;y', (row) => [`${mixed(row)},5`, mixed(row + 1), row % 7], ';');
    expect((await scanTable(comma)).settings).toMatchObject({ delimiter: ';', decimal: ',', header: true });
    const headless = writeTable('', (row) => [row * 1.5, mixed(row), row % 3]);
    const { columns, numRows, settings } = await scanTable(headless);
    expect(settings.header).toBe(false);
    expect(numRows).toBe(ROWS);
    expect(columns.map(({ name }) => name)).toEqual(['c1', 'c2', 'c3']);
  });

  it('columns between spaces are found out, with a tab before the names and no header', async () => {
    const name = (row: number): string => `"${town(row)} ${row % 2 === 0 ? 'north' : 'south'}"`;
    const cars = writeTable('', (row) => [
      `${(mixed(row) + 0.5).toFixed(1)}   ${row % 3}      ${row % 10 === 7 ? '?' : mixed(row + 1)}  1\t${name(row)}`,
    ]);
    const scanned = await scanTable(cars);
    expect(scanned.settings).toMatchObject({ delimiter: 'spaces', header: false });
    expect(scanned.columns.map(({ kind }) => kind)).toEqual(['number', 'number', 'number', 'number', 'text']);
    // The first row has a value twice, which no header would.
    const numbers = writeTable('', (row) => [`  ${row % 4}  ${row % 4}   ${mixed(row)} `]);
    expect((await scanTable(numbers)).settings).toMatchObject({ delimiter: 'spaces', header: false });
    const { config } = await draft(numbers, { target: 'c3' });
    expect(config.data).toMatchObject({ delimiter: 'spaces', header: false });
  });

  it('a text with names of two words beside tabs, and one of sentences, are not divided by spaces', async () => {
    const people = writeTable('name\tage\ty', (row) => [`Ann ${town(row)}`, 20 + row, mixed(row)], '\t');
    expect((await scanTable(people)).settings.delimiter).toBe('\t');
    const directory = temporaryDirectory();
    const write = (name: string, line: string): string => {
      const file = path.join(directory, name);
      fs.writeFileSync(file, `${line}\n`.repeat(ROWS));
      return file;
    };
    expect((await findData(write('words.txt', 'three  small words'))).kind).toBe('text');
    expect((await findData(write('numbers.txt', '  1  2.5  7'))).kind).toBe('table');
    expect((await findData(write('words.txt', 'a  b  c'), { delimiter: 'spaces' })).kind).toBe('table');
    const semicolons = await findData(write('a.csv', '1;2,5;3'), { delimiter: ',' });
    expect(semicolons).toMatchObject({ scanned: { settings: { delimiter: ',' } } });
    const images = path.join(ROOT, 'examples/fashion/test-images-idx3-ubyte.gz');
    await expect(findData(images, { delimiter: ',' })).rejects.toThrow(
      /^--delimiter is for tables; .*idx3-ubyte\.gz holds images$/,
    );
  });

  it('texts among numbers that stand for no value become tokens', async () => {
    const file = writeTable('a,y', (row) => [row % 10 === 0 ? 'None' : mixed(row), row % 7]);
    const { columns, settings } = await scanTable(file);
    expect(settings.missingTokens).toContain('None');
    expect(columns[0]).toMatchObject({ kind: 'number', numMissing: 6 });
    const { config } = await draft(file, { target: 'y' });
    expect(config.data).toMatchObject({ missing: 'mean' });
  });

  it('a token that is the only other class of the target is a class', async () => {
    const file = writeTable('a,y', (row) => [mixed(row), row % 3 === 0 ? '-' : '+']);
    const { config } = await draft(file, { target: 'y' });
    expect(config.model.layers.at(-1)).toEqual({ kind: 'dense', units: 2 });
    expect(config.data.missingTokens).not.toContain('-');
  });
});

describe('what the target decides', () => {
  const file = (): string =>
    writeTable('a,town,few,long,y', (row) => [
      mixed(row),
      town(row),
      row % 4,
      2 ** (row % 12),
      (row % 9) - 4.5,
    ]);

  it.each([
    ['town', 'crossEntropy', 3, undefined],
    ['few', 'crossEntropy', 4, undefined],
    ['long', 'mse', 1, ['log', 'standardize']],
    ['y', 'mse', 1, ['standardize']],
  ])('the target %s is learnt with %s and %i outputs', async (target, loss, units, transform) => {
    const { config, text } = await draft(file(), { target });
    expect(config.loss).toBe(loss);
    expect(config.model.layers.at(-1)).toEqual({ kind: 'dense', units });
    expect(config.data.targetTransform).toEqual(transform);
    expect(config.data.split?.stratify).toBe(loss === 'crossEntropy' ? true : undefined);
    expect(validateConfig(parseConfigText(text, 't.yaml').value)).toHaveProperty('config');
  });

  it('--task says whether whole numbers are classes', async () => {
    const { config } = await draft(file(), { target: 'few', task: 'numbers' });
    expect(config.loss).toBe('mse');
    await expect(draft(file(), { target: 'y', task: 'classes' })).rejects.toThrow(
      'target "y" holds fractions; classes are numbered from 0, to 999 at most',
    );
  });

  it('batch, shards and splits fit the number of rows', async () => {
    const { config } = await draft(file(), { target: 'town' });
    expect(config).toMatchObject({ batchSize: 8, shards: 2, earlyStopping: { patience: 25 } });
    expect(config.data.split).toEqual({ validation: 0.2, test: 0.2, stratify: true });
  });

  it('the text has a reason beside every column that is left out', async () => {
    const table = writeTable('id,a,y', (row) => [row, mixed(row), town(row)]);
    const { text } = await draft(table, { target: 'y' });
    expect(text).toContain('  drop:\n    - id # counts the rows\n');
    expect(text).toContain('  target: y # the column to predict: 3 distinct texts\n');
  });

  it('targets that cannot be predicted are refused', async () => {
    const names = writeTable('a,name,same', (row) => [mixed(row), `n${row}`, 1]);
    await expect(draft(names, { target: 'name' })).rejects.toThrow(
      'target "name" has 60 distinct texts in 60 rows: names, not classes',
    );
    await expect(draft(names, { target: 'same' })).rejects.toThrow(
      'target "same" has one value (1): there is nothing to learn',
    );
  });

  it('names of targets are offered first, then the last column', async () => {
    const { columns } = await scanTable(writeTable('Price,a,b', (row) => [mixed(row), row % 5, row % 7]));
    expect(guessTargets(columns)).toEqual(['Price', 'b', 'a']);
  });
});

describe('data that are no tables', () => {
  it('a text is learnt byte by byte', async () => {
    const file = path.join(temporaryDirectory(), 'words.txt');
    fs.writeFileSync(file, 'The quick brown fox jumps over the lazy dog.\n'.repeat(400));
    const { config } = await draft(file, {});
    const data: ConfigInput['data'] = config.data;
    expect(data).toEqual({
      train: { text: 'words.txt' },
      context: 64,
      split: { validation: 0.1, test: 0.1 },
    });
    expect(config.model.layers.at(-1)).toEqual({ kind: 'dense', units: 256 });
  });

  it('IDX images find their labels and their test set by their names', async () => {
    const folder = path.resolve('examples/fashion');
    const { config } = await draft(path.join(folder, 'train-images-idx3-ubyte.gz'), { directory: folder });
    expect(config.data).toEqual({
      train: { images: 'train-images-idx3-ubyte.gz', labels: 'train-labels-idx1-ubyte.gz' },
      test: { images: 'test-images-idx3-ubyte.gz', labels: 'test-labels-idx1-ubyte.gz' },
      split: { validation: 0.1, stratify: true },
    });
    expect(config.model.layers[0]).toMatchObject({ kind: 'conv2d' });
    expect(config.model.layers.at(-1)).toEqual({ kind: 'dense', units: 10 });
  });

  /** Drafts a config for arrays of 30 samples. */
  async function draftArrays(
    x: { readonly values: Float64Array; readonly shape: readonly number[] },
    y: { readonly values: Float64Array; readonly shape: readonly number[] },
  ): Promise<DraftConfig> {
    const file = path.join(temporaryDirectory(), 'all.npz');
    fs.writeFileSync(file, encodeNpz({ x, y }));
    return draft(file, {});
  }

  const numbers = (length: number, value: (at: number) => number): Float64Array =>
    Float64Array.from({ length }, (_, at) => value(at));

  it('token ids with a label each keep their positions, and padding does not count', async () => {
    const x = { values: numbers(240, (at) => (at * 7) % 19), shape: [30, 8] };
    const y = { values: numbers(240, (at) => (at % 8 > 5 ? -1 : at % 3)), shape: [30, 8] };
    const { config, choices } = await draftArrays(x, y);
    expect(config.data).toEqual({
      train: { npz: 'all.npz', features: 'x', targets: 'y' },
      standardize: false,
      ignoreIndex: -1,
      split: { validation: 0.2, test: 0.2 },
    });
    expect(config).toMatchObject({ loss: 'crossEntropy', clip: { norm: 1 } });
    const { layers } = config.model;
    expect(layers.map(({ kind }) => kind)).toEqual(['embedding', 'lstm', 'residual', 'dense']);
    expect(layers[0]).toMatchObject({ vocabulary: 19 });
    expect(layers.at(-1)).toEqual({ kind: 'dense', units: 3 });
    expect(choices[0]).toEqual([
      'target',
      'target, 3 classes (whole numbers from 0 to 2): crossEntropy, at each of 8 positions',
    ]);
  });

  it('numbers with a label each are sequences of one feature', async () => {
    const x = { values: numbers(240, (at) => Math.sin(at)), shape: [30, 8] };
    const y = { values: numbers(240, (at) => at % 2), shape: [30, 8] };
    const { config } = await draftArrays(x, y);
    expect(config.data).not.toHaveProperty('standardize');
    expect(config.model.layers[0]).toEqual({ kind: 'reshape', shape: [8, 1] });
  });

  it('numbers at the positions of a sequence have names of their own', async () => {
    const x = { values: numbers(720, (at) => Math.sin(at)), shape: [30, 8, 3] };
    const y = { values: numbers(480, (at) => Math.cos(at)), shape: [30, 8, 2] };
    const { config } = await draftArrays(x, y);
    expect(config).toMatchObject({ loss: 'mse', data: { target: ['target1', 'target2'] } });
    expect(config.model.layers[0]).toMatchObject({ kind: 'lstm', returnSequences: true });
    expect(config.model.layers.at(-1)).toEqual({ kind: 'dense', units: 2 });
  });

  it('rows of as many numbers as targets are no sequences', async () => {
    const x = { values: numbers(240, (at) => Math.sin(at)), shape: [30, 8] };
    const { config } = await draftArrays(x, { values: numbers(240, (at) => Math.cos(at)), shape: [30, 8] });
    expect(config.data.target).toHaveLength(8);
    expect(config.model.layers[0]).toMatchObject({ kind: 'dense' });
  });
});
