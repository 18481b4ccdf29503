// Bad files and the errors that they cause, as whole messages on the terminal.
import { join } from 'node:path';
import { chmod, mkdir } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readRecords } from '../../../../../src/data/table/csv.ts';
import { configOf, directoryOf, errorOf, featuresOf, load, loadText } from '../fixtures.ts';

const RAW = { standardize: false } as const;

describe('files', () => {
  test('a missing file is named, with the file that may have been meant', async () => {
    const directory = await directoryOf({ 'train.csv': 'x,y\n1,2\n' });
    const config = configOf({ file: join(directory, 'tran.csv'), target: 'y' });
    expect(await errorOf(load(config), directory)).toBe(
      `error[E_DATA_UNREADABLE]: cannot read tran.csv: no such file (cwd ${process.cwd()})\n` +
        '  help: did you mean train.csv?',
    );
  });

  test.each([
    ['d.csv', ['c.csv', 'c.yaml', 'd.yaml', 'd.png']],
    ['houses.csv', ['c.yaml', 'prices.csv', 'house-prices.csv']],
    ['val.csv', ['all.csv']],
  ])('a missing %s is not taken for one of %j', async (missing, files) => {
    const directory = await directoryOf(Object.fromEntries(files.map((name) => [name, 'x,y\n1,2\n'])));
    const config = configOf({ file: join(directory, missing), target: 'y' });
    expect(await errorOf(load(config), directory)).toBe(
      `error[E_DATA_UNREADABLE]: cannot read ${missing}: no such file (cwd ${process.cwd()})`,
    );
  });

  test.each([
    ['house.csv', 'house.csv.gz'],
    ['house.tsv', 'house.csv'],
    ['House.csv', 'house.csv'],
    ['prices-2024.csv', 'prices-2042.csv'],
  ])('the error for a missing %s suggests %s', async (missing, there) => {
    const directory = await directoryOf({ [there]: 'x,y\n1,2\n' });
    const config = configOf({ file: join(directory, missing), target: 'y' });
    expect(await errorOf(load(config), directory)).toContain(`help: did you mean ${there}?`);
  });

  test('a directory is refused as a table', async () => {
    const directory = await directoryOf({});
    await mkdir(join(directory, 'd'));
    const config = configOf({ file: join(directory, 'd'), target: 'y' });
    expect(await errorOf(load(config), directory)).toBe(
      'error[E_DATA_UNREADABLE]: cannot read d: it is a directory\n  help: name the files of a table: d/*.csv',
    );
  });

  test.skipIf(process.getuid?.() === 0)('a file without read permission is named', async () => {
    const directory = await directoryOf({ 'a.csv': 'x,y\n1,2\n' });
    await chmod(join(directory, 'a.csv'), 0o000);
    const config = configOf({ file: join(directory, 'a.csv'), target: 'y' });
    expect(await errorOf(load(config), directory)).toBe(
      'error[E_DATA_UNREADABLE]: cannot read a.csv: permission denied\n' +
        '  help: run chmod +r a.csv as its owner',
    );
  });

  test.each([
    ['an empty file', '', 'error[E_DATA_EMPTY]: a.csv is empty (0 bytes)'],
    ['gzip of nothing', gzipSync(''), 'error[E_DATA_EMPTY]: a.csv is gzip of an empty file'],
    ...['sep=;\n', '\n\n\n', gzipSync('\n')].map((text): [string, string | Buffer, string] => [
      `nothing but lines without rows: ${JSON.stringify(text.toString('latin1'))}`,
      text,
      'error[E_DATA_EMPTY]: a.csv holds no rows, only blank lines or a line that sets the delimiter',
    ]),
    [
      'gzip inside gzip',
      gzipSync(gzipSync('x,y\n1,2\n')),
      'error[E_DATA_FORMAT]: a.csv is gzip inside gzip, which is not read\n' +
        '  help: expand it once with gunzip',
    ],
    [
      'zip inside gzip',
      gzipSync(Buffer.from('504b030414000000', 'hex')),
      'error[E_DATA_FORMAT]: a.csv is a zip archive or an Excel workbook inside gzip, which is not read\n' +
        '  help: unpack it, or save the sheet as CSV',
    ],
    ['a header alone', 'x,y\n', 'error[E_DATA_NO_ROWS]: a.csv has a header but no data rows'],
    [
      'zip',
      Buffer.from('504b030414000000', 'hex'),
      'error[E_DATA_FORMAT]: a.csv is a zip archive or an Excel workbook, which is not read\n' +
        '  help: unpack it, or save the sheet as CSV',
    ],
    [
      'zstd',
      Buffer.from('28b52ffd00', 'hex'),
      'error[E_DATA_FORMAT]: a.csv is zstd-compressed, which is not read\n' +
        '  help: run zstd -d, or compress with gzip',
    ],
    [
      'bzip2',
      Buffer.from('425a683931415926', 'hex'),
      'error[E_DATA_FORMAT]: a.csv is bzip2-compressed, which is not read\n' +
        '  help: run bunzip2, or compress with gzip',
    ],
    [
      'gzip cut short',
      gzipSync('x,y\n1,2\n3,4\n').subarray(0, -6),
      'error[E_DATA_GZIP]: a.csv is damaged gzip: unexpected end of file\n' +
        '  help: run gzip -t a.csv, or fetch the file again',
    ],
  ])('a file of data is refused: %s', async (_, content, message) => {
    expect(await errorOf(loadText(content))).toBe(message);
  });

  test.each([
    ['plain', (bytes: Uint8Array) => bytes],
    ['gzip', (bytes: Uint8Array) => gzipSync(bytes)],
  ])('images in the place of a table are recognized: %s', async (_, pack) => {
    const images = Uint8Array.of(...[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2], 7, 9);
    expect(await errorOf(loadText(pack(images)))).toBe(
      'error[E_DATA_FORMAT]: a.csv is an IDX file, of images or labels, not a table\n' +
        '  help: a table is CSV or TSV; a config names images as { images: FILE, labels: FILE }',
    );
  });

  test('gzip is recognized by its content, not by its name', async () => {
    const { dataset } = await loadText(gzipSync('x,y\n1,2\n3,4\n'));
    expect(dataset.layout.numRows).toBe(2);
  });
});

describe('encoding', () => {
  test.each([
    [
      'UTF-16',
      Buffer.from('\ufeffx,y\n1,2\n', 'utf16le'),
      'bytes FF FE at byte 0: UTF-16, expected UTF-8',
      'utf-16',
    ],
    ['a NUL', Buffer.from('x,y\n1,\0\n'), 'NUL at byte 6: not text, or UTF-16', 'utf-16'],
    ['Latin-1', Buffer.from('x,y\n1,é\n', 'latin1'), 'byte E9 at byte 6: not UTF-8', 'latin1'],
    [
      'a character cut off',
      Buffer.from('x,y\n1,é').subarray(0, -1),
      'byte C3 at byte 6: not UTF-8',
      'latin1',
    ],
  ])('a file that is not UTF-8 is refused with the offset: %s', async (_, content, found, charset) => {
    expect(await errorOf(loadText(content))).toBe(
      `error[E_DATA_ENCODING]: a.csv has ${found}\n` +
        `  help: convert it: iconv -f ${charset} -t utf-8 a.csv > utf8.csv`,
    );
  });

  test('a suggested command quotes the name of the file', async () => {
    const name = "sp 4's $(touch pwn).csv";
    const directory = await directoryOf({ [name]: Buffer.from('x,y\n1,é\n', 'latin1') });
    const error = await errorOf(load(configOf({ file: join(directory, name), target: 'y' })));
    expect(error).toContain(`/sp 4'\\''s $(touch pwn).csv' > `);
  });

  test.skipIf(process.platform !== 'linux')(
    'a file that reports no size but has content is read',
    async () => {
      const error = await errorOf(load(configOf({ file: '/proc/self/status', target: 'y' })));
      expect(error).not.toContain('E_DATA_EMPTY');
    },
  );

  test('a byte-order mark is not part of the first column name', async () => {
    const { featureNames } = await loadText('\ufeffx,y\n1,2\n');
    expect(featureNames).toEqual(['x']);
  });

  test('characters that are split between two reads are kept whole', async () => {
    const rows = Array.from({ length: 60_000 }, (_, row) => (row % 2 === 0 ? 'äöü€😀,1' : 'größe,2'));
    const { featureNames } = await loadText(`x,y\n${rows.join('\n')}\n`);
    expect(featureNames).toEqual(['x=größe', 'x=äöü€😀']);
  });
});

describe('records', () => {
  test.each([
    [
      'a row with a field too many',
      'a,b,y\n1,2,3\n1,2,3,4\n',
      'error[E_DATA_RAGGED_ROW]: 4 fields, header has 3 (a,b,y): 1,2,3,«4»\n  --> a.csv:3',
    ],
    [
      'a row with fields too few',
      'a,b,y\n1\n',
      'error[E_DATA_RAGGED_ROW]: 1 field, header has 3 (a,b,y): 1 and no b,y\n  --> a.csv:2',
    ],
    [
      'a quote that never closes',
      'a,b,y\n1,2,3\n1,"2,3\n4,5,6\n',
      'error[E_DATA_QUOTE]: quote opened here never closes (reached end of file)\n  --> a.csv:3:3',
    ],
    [
      'a quote inside a field',
      'a,y\n5" pipe,3\n',
      'error[E_DATA_QUOTE]: a quote is in the middle of this field\n  --> a.csv:2:1\n' +
        '  help: put the whole field in quotes and double each quote inside it',
    ],
    [
      'text after a closing quote',
      'a,y\n1,2\n"5"x,3\n',
      'error[E_DATA_QUOTE]: a quote is in the middle of this field\n  --> a.csv:3:1\n' +
        '  help: put the whole field in quotes and double each quote inside it',
    ],
    [
      'two columns of one name',
      'x,a,y,z,x\n1,2,3,4,5\n',
      'error[E_DATA_COLUMNS]: columns 1 and 5 are both "x"\n  --> a.csv:1\n  help: rename one of them',
    ],
    [
      'a column without a name',
      ',x,y\n1,2,3\n',
      'error[E_DATA_COLUMNS]: column 1 has no name\n  --> a.csv:1\n' +
        '  help: give every column a name in the first row',
    ],
    [
      'another delimiter',
      'x;y\n1;2\n',
      'error[E_DATA_DELIMITER]: only 1 column found, and the first row contains ";"\n  --> a.csv:1\n' +
        '  help: set data.delimiter: ";"',
    ],
    [
      'another delimiter between quoted names',
      '"fixed acidity";"p, H";"y"\n0;0;-3\n',
      'error[E_DATA_DELIMITER]: the first row is divided by ";", not by ","\n  --> a.csv:1\n' +
        '  help: set data.delimiter: ";"',
    ],
    [
      'columns between spaces',
      '  x   y\n  1   2\n',
      'error[E_DATA_DELIMITER]: only 1 column found, and the first row contains spaces\n  --> a.csv:1\n' +
        '  help: set data.delimiter: spaces',
    ],
    [
      'a record longer than 16 MiB',
      `x,y\n"${'a'.repeat(2 ** 24 + 2)}`,
      'error[E_DATA_LONG_LINE]: record is longer than 16 MiB\n  --> a.csv:2:1\n' +
        '  help: look for a quote that never closes in the field named above',
    ],
    [
      'a cell longer than 64 KiB',
      `x,y\n${'a'.repeat(65_537)},1\n`,
      'error[E_DATA_LONG_CELL]: column "x": cell is longer than 64 KiB\n  --> a.csv:2',
    ],
    [
      'more than 100,000 columns',
      `${'x,'.repeat(100_000)}y\n`,
      'error[E_DATA_COLUMNS]: 100,001 columns; at most 100,000 columns are read\n  --> a.csv:1',
    ],
  ])('a table is refused: %s', async (_, content, message) => {
    expect(await errorOf(loadText(content))).toBe(message);
  });

  test('tabs separate the fields of a .tsv file, and empty fields count', async () => {
    const directory = await directoryOf({ 'a.tsv': 'x\tz\ty\n1\t\t2\n\t5\t4\n' });
    const data = { file: join(directory, 'a.tsv'), target: 'y', missing: 'mean', ...RAW } as const;
    const loaded = await load(configOf({ ...data, split: { validation: 0, test: 0 } }));
    expect([featuresOf(loaded, 0), featuresOf(loaded, 1)]).toEqual([
      [1, 5],
      [1, 5],
    ]);
  });

  test('spaces around fields and blank lines are ignored', async () => {
    const loaded = await loadText('x , y\r\n 1, 2\r\n\r\n3 ,"4"\r\n\r\n', RAW);
    expect([featuresOf(loaded, 0), featuresOf(loaded, 1)]).toEqual([[1], [3]]);
  });

  test.each([
    ['x y\n1 2\n1  2\n', 3],
    [' x y\n1 2\n', 1],
  ])('several spaces are not the delimiter of one space: %j', async (text, line) => {
    expect(await errorOf(loadText(text, { delimiter: ' ' }))).toBe(
      'error[E_DATA_DELIMITER]: the columns are divided by several spaces; data.delimiter " " is a single one\n' +
        `  --> a.csv:${line}\n  help: set data.delimiter: spaces`,
    );
  });

  test('the delimiter spaces is any number of spaces and tabs, around which a line may have more', async () => {
    const text = '\ufeff  x  name\ty\n  1   "ford  torino"  2\r\n\t 3\t\tfiat 4 \n\n5 "a""b c"\t 6';
    const loaded = await loadText(text, { ...RAW, delimiter: 'spaces' });
    expect(loaded.featureNames).toEqual(['x', 'name=a"b c', 'name=fiat', 'name=ford  torino']);
    expect([0, 1, 2].map((row) => featuresOf(loaded, row))).toEqual([
      [1, 0, 0, 1],
      [3, 0, 1, 0],
      [5, 1, 0, 0],
    ]);
    expect(await errorOf(loadText(`${text}\n 1 a bad`, { delimiter: 'spaces' }))).toContain('--> a.csv:6\n');
    expect(await errorOf(loadText(`${text}\n 1 a`, { delimiter: 'spaces' }))).toContain(
      'error[E_DATA_RAGGED_ROW]: 2 fields, header has 3 (x,name,y): 1,a and no y\n  --> a.csv:6',
    );
    expect(await errorOf(loadText('x;y\n1;2\n', { delimiter: 'spaces' }))).toContain(
      'only 1 column found, and the first row contains ";"',
    );
  });

  test.each(['x,c,y\r\n1,a,1\n2,"b\n",2\r3,c,3\r\n\n4,d,4\r', 'x,c,y\n1,a,1\r\n2,"b\n",2\n3,c,3\r\r\n4,d,4'])(
    'line endings may be mixed: %j',
    async (text) => {
      const loaded = await loadText(text, RAW);
      expect(loaded.featureNames).toEqual(['x', 'c=a', 'c=b\n', 'c=c', 'c=d']);
      expect([0, 1, 2, 3].map((row) => featuresOf(loaded, row)[0])).toEqual([1, 2, 3, 4]);
      expect(await errorOf(loadText(`${text}\n5,e,bad\n`, RAW))).toContain('--> a.csv:8:5\n');
    },
  );

  test.each(['sep=;\n', '\ufeffsep=;\r\n', '"sep=;"\r'])(
    'the first line %j sets the delimiter',
    async (line) => {
      const loaded = await loadText(`${line}a;b;y\n0;"1;5";2\n`, { ...RAW, decimal: ',', drop: ['b'] });
      expect(loaded.featureNames).toEqual(['a']);
      expect(await errorOf(loadText(`${line}a;y\n0;1\nu;2\n`))).toContain('--> a.csv:4:1\n');
      const headless = { header: false, target: 'c1', missing: 'error' } as const;
      expect((await loadText(`${line}1;"NA"\n2;b\n`, headless)).featureNames).toEqual(['c2=NA', 'c2=b']);
      expect((await loadText(`${line}a,y\n1,2\n`, { delimiter: ',' })).featureNames).toEqual(['a']);
    },
  );

  test('columns are named c1, c2, ... without a header', async () => {
    const loaded = await loadText('1,2\n3,4\n', { header: false, target: 'c2', ...RAW });
    expect(loaded.featureNames).toEqual(['c1']);
    expect(featuresOf(loaded, 1)).toEqual([3]);
  });

  test('a header of numbers causes a warning', async () => {
    const { warnings } = await loadText('5.1,3.5\n1,2\n', { target: '3.5' });
    expect(warnings[0]).toMatch(
      /\/a\.csv: header row is all numeric \(5\.1,3\.5\); if it is data, set data\.header: false$/,
    );
  });

  test('quoted cells of any text are read back unchanged, with the line that they start on', async () => {
    const cell = fc.string({ unit: fc.constantFrom('a', '"', ',', '\n', '\r\n', 'é', '😀', ';') });
    const records = fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(records, async (rows) => {
        const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
        const texts = rows.map((row) => `${row.map(quote).join(',')}\n`);
        const directory = await directoryOf({ 'a.csv': texts.join('') });
        const read: unknown[] = [];
        const file = { path: join(directory, 'a.csv'), delimiter: ',' };
        await readRecords(file, (fields, line, isQuoted) => {
          read.push([...fields, line]);
          expect([isQuoted(0), isQuoted(1)]).toEqual([true, true]);
        });
        const lineOf = (row: number) => texts.slice(0, row).join('').split('\n').length;
        expect(read).toEqual(rows.map((row, index) => [...row, lineOf(index)]));
      }),
      { numRuns: 60 },
    );
  });

  test('fields between spaces are the same wherever the bytes of a file are cut', async () => {
    const cell = fc.string({ unit: fc.constantFrom('a', '"', ' ', '\t', '\n', '\r\n', 'é') });
    const gap = fc.stringMatching(/^[ \t]{1,3}$/);
    const rows = fc.array(fc.tuple(cell, gap, cell, gap), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(rows, fc.integer({ min: 1, max: 7 }), async (records, length) => {
        const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
        const texts = records.map(
          ([a, between, b, after]) => `${after}${quote(a)}${between}${quote(b)}${after}`,
        );
        const bytes = Buffer.from(texts.join('\n'));
        const chunks = Array.from({ length: Math.ceil(bytes.length / length) }, (_, index) =>
          bytes.subarray(index * length, (index + 1) * length),
        );
        const read: (readonly string[])[] = [];
        const file = { path: 'chunks', delimiter: 'spaces', stream: Readable.from(chunks) };
        await readRecords(file, (fields, _, isQuoted) => {
          read.push([...fields]);
          expect([isQuoted(0), isQuoted(1)]).toEqual([true, true]);
        });
        expect(read).toEqual(records.map(([a, , b]) => [a, b]));
      }),
      { numRuns: 60 },
    );
  });
});
