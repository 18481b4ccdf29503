// The kinds of cells: a number, a number in disguise, no value, or a text; and the columns
// that are worth a warning.
import { describe, expect, test } from 'vitest';
import { targetView } from '../../../../../src/data/dataset/packed-dataset.ts';
import {
  CLASSES,
  configOf,
  directoryOf,
  encodeTable,
  errorOf,
  featuresOf,
  load,
  loadSamples,
  loadText,
  modelOf,
} from '../fixtures.ts';
import { join } from 'node:path';

const RAW = { standardize: false } as const;
const PLAIN = 'write plain numbers, or name the column under data.categorical or data.drop';

/** A table of a feature `a` and a target that numbers the rows. */
function column(cells: readonly string[], quote = '"'): string {
  return ['a,y', ...cells.map((cell, row) => `${quote}${cell}${quote},${row}`), ''].join('\n');
}

/** The features that the cells of a column become. */
async function valuesOf(cells: readonly string[], data: object): Promise<number[]> {
  const loaded = await loadText(column(cells), { ...RAW, ...data });
  return cells.flatMap((_, row) => featuresOf(loaded, row));
}

function notANumber(cell: string, what: string, help: string): string {
  return `error[E_DATA_NOT_A_NUMBER]: column "a": ${JSON.stringify(cell)} ${what}\n  --> a.csv:2:1\n  help: ${help}`;
}

describe('digits in groups', () => {
  test('the error for groups of three digits names both readings, and each advised setting gives one of them', async () => {
    const cells = ['1,100', '2,250'];
    expect(await errorOf(loadText(column(cells)))).toBe(
      notANumber(
        '1,100',
        'can be 1100, its digits in groups, or 1.1, with a decimal comma',
        'set data.thousands: "," if it is 1100, data.decimal: "," if it is 1.1',
      ),
    );
    expect(await valuesOf(cells, { thousands: ',' })).toEqual([1100, 2250]);
    expect(await valuesOf(cells, { decimal: ',' })).toEqual([1.1, 2.25].map(Math.fround));
  });

  test.each([
    ['a second group', ['1,100,200', '2,101'], { thousands: ',' }, [1_100_200, 2101]],
    ['a point beside them', ['1,100', '2,101.5'], { thousands: ',' }, [1100, 2101.5]],
    ['spaces', ['1 100', '1\u00a0200', '7'], { thousands: ' ' }, [1100, 1200, 7]],
    ['underscores', ['1_000', '2_500', '7'], { thousands: '_' }, [1000, 2500, 7]],
    ['apostrophes', ["1'100", '2’500'], { thousands: "'" }, [1100, 2500]],
    ['points and a comma', ['1.100,5', '2,25'], { decimal: ',', thousands: '.' }, [1100.5, 2.25]],
    ['another number of digits', ['1,5', '2,25'], { decimal: ',' }, [1.5, 2.25]],
    ['a leading zero', ['0,125', '0,250'], { decimal: ',' }, [0.125, 0.25]],
  ])(
    '%s leaves only one reading of grouped digits, which the advised setting gives',
    async (_, cells, settings, values) => {
      const advice = Object.entries(settings).map(([key, value]) => `data.${key}: ${JSON.stringify(value)}`);
      expect(await errorOf(loadText(column(cells)))).toContain(`\n  help: set ${advice.join(' and ')}`);
      expect(await valuesOf(cells, settings)).toEqual(values);
    },
  );

  test('the advice for grouped digits is to write them with the decimal separator of the other columns', async () => {
    const german = 'x,y\n"1.100,50",0.5\n"3,5",1.5\n';
    expect(await errorOf(loadText(german))).toContain(
      '\n  help: write a decimal point, as other columns do, or name the column under data.categorical or data.drop',
    );
    expect(await errorOf(loadText(german, { decimal: ',', thousands: '.' }))).toMatch(
      /column "y": "0.5" looks like a decimal point\n.*\n {2}help: write a decimal comma, as other columns do$/,
    );
    expect(await errorOf(loadText('x,y\n"1,100",0.5\n'))).toMatch(
      /help: set data.thousands: "," if it is 1100, or if it is 1.1, write a decimal point, as other columns do$/,
    );
    expect(await errorOf(loadText('x,y\n"1,5",1.100\n'))).toMatch(/help: set data.decimal: ","$/);
  });

  test('grouped digits form a number only if all groups are complete', async () => {
    for (const cell of ['11,00', '1,1000', ',100', '1,,100']) {
      const error = await errorOf(loadText(column(['1,100', cell]), { thousands: ',' }));
      expect(error).toContain(`column "a": "${cell}" is not a number (1 of 2 cells)`);
    }
  });

  test('grouped digits among plain numbers are recognized if one of these has a point', async () => {
    expect(await errorOf(loadText(column(['0.5', '1,100'])))).toContain(
      '"1,100" looks like a number with its digits in groups\n  --> a.csv:3:1\n  help: set data.thousands: ","',
    );
  });

  test('grouped digits need a separator other than the decimal one', () => {
    const data = { file: 'a.csv', target: 'y', thousands: ',', decimal: ',' } as const;
    expect(() => configOf(data)).toThrow('is \\",\\", and so is data.decimal');
    expect(() => configOf({ ...data, thousands: '.', decimal: '.' })).toThrow('set data.decimal: \\",\\"');
  });
});

describe('numbers and texts in one column', () => {
  test.each([
    ['a class', CLASSES, 'correct the cell, or give all classes names (such as c1 for 1), or numbers from 0'],
    ['a number', {}, 'correct the cell, or leave its row out'],
  ])(
    'the advice for a mixed target that is %s does not suggest making it categorical',
    async (_, rest, help) => {
      const model = modelOf(2);
      const error = await errorOf(
        loadText('x,y\n1,b\n2,1\n', {}, { ...rest, ...('loss' in rest && { model }) }),
      );
      expect(error).toContain(
        `column "y": "b" is not a number (1 of 2 cells)\n  --> a.csv:2:3\n  help: ${help}`,
      );
    },
  );

  test('a mixed column becomes classes if all are given names, as the help advises', async () => {
    const { classNames } = await loadText('x,y\n1,b\n2,c1\n', {}, { ...CLASSES, model: modelOf(2) });
    expect(classNames).toEqual(['b', 'c1']);
  });

  test('the advice for a mixed column that is a listed feature does not suggest dropping it', async () => {
    expect(await errorOf(loadText('x,y\n1,1\nb,2\n', { features: ['x'] }))).toMatch(
      /help: correct the cell, or name the column under data.categorical, or take it out of data.features$/,
    );
  });

  test.each([['1\nNone\n#N/A\n'], ['#N/A\n1\nNone\n']])(
    'likely missing tokens are found among numbers in any order: %j',
    async (cells) => {
      const text = `x,y\n${cells.replaceAll('\n', ',1\n')}`;
      const tokens = cells.startsWith('1') ? '"None", "#N/A"' : '"#N/A", "None"';
      expect(await errorOf(loadText(text))).toContain(`set data.missingTokens: [${tokens}]; if not, `);
    },
  );
});

describe('numbers with signs', () => {
  test.each([
    ['$10.50', ['$11', '-$3', '($4)'], 'a currency sign and brackets'],
    ['10 €', ['11,5 €'], 'a currency sign'],
    ['USD 10', ['USD 1,100.5'], 'a currency sign'],
    ['US$ 5', ['R$ 6'], 'a currency sign'],
    ['0%', ['12.5 %'], 'a percent sign'],
    ['−7', ['−8.5'], 'a minus that is not a hyphen'],
    ['100-', ['7-'], 'a minus that is not a hyphen'],
    ['１２', ['３'], 'other digits'],
    ['٣', ['٤٥'], 'other digits'],
  ])('numbers with signs such as %s are not categories', async (first, others, marks) => {
    const what = `is a number with ${marks}`;
    expect(await errorOf(loadText(column([first, ...others])))).toBe(notANumber(first, what, PLAIN));
  });

  test('numbers with signs are reported even if the first cell has no sign', async () => {
    expect(await errorOf(loadText(column(['1\u00a0100', '−7'])))).toContain(
      'stands among numbers with a minus that is not a hyphen',
    );
  });

  test('numbers with signs are texts if the config says so, or if they are classes', async () => {
    const cells = ['10%', '20%', '10%'];
    expect((await loadText(column(cells), { categorical: ['a'] })).featureNames).toEqual(['a=10%', 'a=20%']);
    const text = `x,y\n${cells.map((cell, row) => `${row},${cell}\n`).join('')}`;
    expect((await loadText(text, {}, { ...CLASSES, model: modelOf(2) })).classNames).toEqual(['10%', '20%']);
  });

  test.each([
    [['$10', '$11', '$12', 'free'], '3 of 4 texts look like numbers (such as "$10")'],
    [['1 kg', '2 kg', '2.5 kg', '7 kg'], '4 texts look like numbers with the unit "kg" (such as "1 kg")'],
  ])('numbers with signs cause a warning if some cells have none: %j', async (cells, found) => {
    expect((await loadText(column(cells))).warnings).toContain(
      `column "a": ${found}; each is a category of its own. If numbers are meant, write plain ones`,
    );
  });

  test.each([[['2wd', '4wd', '2wd']], [['1st', '2nd', '3rd', '4th']], [['a1', 'b2', '$', '%']]])(
    'the texts %j are not mistaken for numbers with signs',
    async (cells) => {
      expect((await loadText(column(cells))).warnings).toEqual([]);
    },
  );
});

describe('cells without a value', () => {
  const COUNTRIES = 'x,country,y\n1,ZA,1\n2,"NA",2\n3,BW,3\n';

  test('a quoted token is not a missing cell', async () => {
    expect((await loadText(COUNTRIES)).featureNames).toEqual(['x', 'country=BW', 'country=NA', 'country=ZA']);
    const first = 'x,country,y\n1,"NA",1\n2,ZA,2\n3,"-",3\n';
    expect((await loadText(first)).featureNames).toEqual(['x', 'country=-', 'country=NA', 'country=ZA']);
    const only = await loadText('x,c,y\n1,"NA",1\n2,"-",2\n');
    expect(only.featureNames).toEqual(['x', 'c=-', 'c=NA']);
  });

  test('missing cells are distinguished from quoted ones across reads, line breaks and byte-order marks', async () => {
    const pad = 'é'.repeat(200);
    const rows = Array.from({ length: 3000 }, (_, row) =>
      row % 3 === 0
        ? `"${pad}\r\n""",NA,${row}`
        : row % 3 === 1
          ? `"a ""NA"" b", "NA" ,${row}`
          : `b,"c, ""d""",${row}`,
    );
    const text = `\ufeffx,c,y\r\n${rows.join('\r\n')}\r\n`;
    const loaded = await loadText(text, { missing: 'category' });
    expect(loaded.featureNames.filter((name) => name.startsWith('c'))).toEqual(['c=', 'c=NA', 'c=c, "d"']);
    const at = loaded.featureNames.indexOf('c=');
    for (const row of [0, 1, 2, 2997, 2998]) expect(featuresOf(loaded, row)[at]).toBe(row % 3 === 0 ? 1 : 0);
    expect(await errorOf(loadText(text))).toContain('column "c": 1,000 of 3,000 cells missing ("NA" 1,000)');
  });

  test('a quoted empty cell is missing, and so is any token among numbers', async () => {
    expect(await valuesOf(['1', '', '3', 'NA'], { missing: 'mean' })).toEqual([1, 2, 3, 2]);
    expect(await valuesOf(['NA', '2'], { missing: 'mean' })).toEqual([2, 2]);
  });

  test('the missing cells are those of data.missingTokens if it is set', async () => {
    const data = { missing: 'mean' as const, missingTokens: ['None', '-999'], ...RAW };
    const loaded = await loadText('a,c,y\n1,-,1\nNone,NA,2\n-999,-,3\n5,,4\n', data);
    expect([0, 1, 2, 3].map((row) => featuresOf(loaded, row))).toEqual([
      [1, 0, 1, 0],
      [3, 0, 0, 1],
      [3, 0, 1, 0],
      [5, 1, 0, 0],
    ]);
    expect(loaded.featureNames).toEqual(['a', 'c=', 'c=-', 'c=NA']);
  });

  test('a missing token may be a number, which is a text if it is quoted', async () => {
    const loaded = await loadText(column(['-999', '-999']), { missingTokens: ['-999'] });
    expect(loaded.featureNames).toEqual(['a=-999']);
  });

  test('the help for a likely missing token lists all tokens in use', async () => {
    const text = 'a,b,y\n1,1,1\nNone,NA,2\n3,#N/A,3\n';
    const advice = 'data.missingTokens: ["NA", "None", "#N/A"]';
    expect(await errorOf(loadText(text, { missing: 'mean' }))).toContain(
      `\n  help: if it stands for no value, set ${advice}; if not, correct the cell`,
    );
    const missingTokens = ['NA', 'None', '#N/A'];
    const loaded = await loadText(text, { missing: 'mean', missingTokens, ...RAW });
    expect(featuresOf(loaded, 1)).toEqual([2, 1]);
  });

  test('a missing token becomes a class if the user follows the help of the error', async () => {
    const text = 'x,y\n1,-\n2,+\n3,-\n';
    const classes = { ...CLASSES, model: modelOf(2) };
    expect(await errorOf(loadText(text, {}, classes))).toBe(
      'error[E_DATA_MISSING]: column "y": 2 of 3 cells missing ("-" 2)\n  --> a.csv:2:3\n' +
        '  help: fill them in, or set data.missing: drop-row; if "-" is a value, quote it, or set data.missingTokens: []',
    );
    expect((await loadText(text, { missingTokens: [] }, classes)).classNames).toEqual(['+', '-']);
    expect((await loadText(text.replaceAll('-', '"-"'), {}, classes)).classNames).toEqual(['+', '-']);
  });

  test('missing cells are treated by the rule of their column', async () => {
    const missing = { default: 'mean', columns: { age: 'drop-row', city: 'category' } } as const;
    const text = 'age,city,size,y\n1,,2,1\n,Ulm,4,2\n3,Ulm,,3\n5,Bonn,6,\n';
    const loaded = await loadText(text, { missing, ...RAW });
    expect([...targetView(loaded.dataset)]).toEqual([1, 3]);
    expect(loaded.featureNames).toEqual(['age', 'city=', 'city=Ulm', 'size']);
    expect([0, 1].map((row) => featuresOf(loaded, row))).toEqual([
      [1, 1, 0, 2],
      [3, 0, 1, 2],
    ]);
    expect(loaded.warnings[0]).toMatch(
      /: 2 of 4 rows left out for missing cells \(column "age" 1; column "y" 1\)$/,
    );
  });

  test.each([
    [{ columns: { a: 'category' } }, 'a,y\n1,1\n,2\n', 'category is not for numbers', 'mean'],
    ['category', 'a,y\n1,1\n,2\n', 'category is not for numbers', 'mean'],
    [{ columns: { a: 'mean' } }, 'a,y\nu,1\n,2\n', 'mean is not for texts', 'category'],
  ] as const)(
    'the rule for missing cells %j is refused if it does not suit the column',
    async (missing, text, why, other) => {
      expect(await errorOf(loadText(text, { missing }))).toBe(
        `error[E_DATA_MISSING]: column "a": 1 of 2 cells missing ("" 1); data.missing: ${why}\n  --> a.csv:3:1\n` +
          `  help: set data.missing.columns.a: ${other}, or drop-row`,
      );
    },
  );

  test('a rule for missing cells is refused for an absent or unread column, and if it would invent a target', async () => {
    const withRule = (columns: Record<string, 'mean' | 'drop-row'>) => ({ missing: { columns } });
    expect(await errorOf(loadText('age,y\n1,1\n', withRule({ agee: 'mean' })))).toBe(
      'error[E_CONFIG_COLUMN]: data.missing.columns: no column "agee"; columns: age, y\n  help: did you mean "age"?',
    );
    expect(await errorOf(loadText('age,b,y\n1,1,1\n', { ...withRule({ b: 'mean' }), drop: ['b'] }))).toBe(
      'error[E_CONFIG_COLUMN]: data.missing.columns names "b", which is not read\n' +
        '  help: take it out of data.missing.columns',
    );
    expect(() => configOf({ file: 'a.csv', target: 'y', ...withRule({ y: 'mean' }) })).toThrow(
      'mean does not go with a target or a weight, which is never filled in',
    );
  });
});

describe('columns that teach nothing', () => {
  test('columns such as names and dates are listed in one warning', async () => {
    const rows = Array.from(
      { length: 20 },
      (_, row) => `N${row},${10 + (row % 12)}.1.2024,${'ab'[row % 2]},${row}\n`,
    );
    const { warnings } = await loadText(`name,day,kind,y\n${rows.join('')}`);
    expect(warnings).toEqual([
      'columns "name" (20 texts, such as "N0"), "day" (12 dates, such as "10.1.2024") in 20 training rows: each text becomes ' +
        'a feature, which new rows will not have. Names, identifiers and dates teach nothing so: leave them out with ' +
        'data.drop, or say in data.columns how they are read (embedding, hash, date)',
    ]);
  });

  test('a column causes no warning if it is listed as categorical, or if its rows or distinct texts are few', async () => {
    const rows = Array.from({ length: 20 }, (_, row) => `N${row},T${row % 17},${row}\n`);
    const text = `name,team,y\n${rows.join('')}`;
    expect((await loadText(text, { categorical: ['name'] })).warnings).toEqual([]);
    expect((await loadText(column(['u', 'v', 'w'], ''))).warnings).toEqual([]);
  });

  test('columns with more than 1,000 texts are refused together', async () => {
    const rows = Array.from({ length: 1001 }, (_, row) => `n${row},t${row},${row}\n`);
    expect(await errorOf(loadText(`name,ticket,y\n${rows.join('')}`))).toBe(
      'error[E_DATA_CATEGORIES]: 2 columns have problems\n' +
        '    a.csv:1002:1 column "name" has more than 1,000 distinct texts\n' +
        '    a.csv:1002:7 column "ticket" has more than 1,000 distinct texts\n' +
        '  help: an identifier teaches nothing: leave it out with data.drop; other texts may have learned vectors, or share features: data.columns, kind: embedding or hash',
    );
  });
});

describe('a column whose values differ by rounding only', () => {
  const NOISE = ['0.3', '0.30000000000000004', '0.3', '0.30000000000000004'];

  test('a feature that differs by rounding only is constant, so a held-out value of another size stays finite', async () => {
    const directory = await directoryOf({ 'train.csv': column(NOISE, ''), 'test.csv': column(['0.35'], '') });
    const sources = { train: join(directory, 'train.csv'), test: join(directory, 'test.csv'), target: 'y' };
    const loaded = await load(configOf({ ...sources, split: { validation: 0 } }));
    expect([0, 1, 4].map((row) => featuresOf(loaded, row))).toEqual([[0], [0], [0]]);
    expect(loaded.warnings).toContain(
      'column "a" has one value (0.30000000000000004) in the training split; standardised to 0',
    );
  });

  test('a target that differs by rounding only is constant', async () => {
    const text = `x,y\n${NOISE.map((cell, row) => `${row},${cell}\n`).join('')}`;
    const loaded = await loadText(text, { targetTransform: ['standardize'] });
    expect([...targetView(loaded.dataset)]).toEqual([0, 0, 0, 0]);
    expect(loaded.warnings).toContain('target "y" has one value in the training split');
  });

  test('a feature of float32 is constant if it differs by rounding to float32 only', async () => {
    const features = Float32Array.of(0.3, 0.300_000_04, 0.3, 0.300_000_04);
    const { warnings } = await loadSamples({
      train: { features, shape: [4, 1], targets: [1, 2, 3, 4] },
      split: { validation: 0, test: 0 },
    });
    expect(warnings).toContain('1 feature of 1 with one value in the training split; standardised to 0');
  });

  test('a feature with a tiny spread is not constant, and a distant held-out value is refused', async () => {
    const directory = await directoryOf({
      'train.csv': column(['0', '1e-30'], ''),
      'test.csv': column(['1', '1e10'], ''),
    });
    const sources = { train: join(directory, 'train.csv'), test: join(directory, 'test.csv'), target: 'y' };
    expect(await errorOf(load(configOf({ ...sources, split: { validation: 0 } })), directory)).toBe(
      'error[E_DATA_OVERFLOW]: column "a" is 10000000000; standardized it does not fit float32 (max 3.4e38): ' +
        'the training rows have mean 5e-31, deviation 5e-31\n  --> test.csv:3\n' +
        '  help: correct the value, or leave its row out',
    );
  });

  test('a feature of large values with a small spread is not constant', async () => {
    const loaded = await loadText(column(['1700000000.001', '1700000000.003'], ''));
    expect([0, 1].map((row) => Math.round(featuresOf(loaded, row)[0] ?? 0))).toEqual([-1, 1]);
  });
});

describe('labels', () => {
  test('labels that start from 1 leave class 0 without rows, which causes a warning', async () => {
    const { warnings, classNames } = await loadText(
      'x,y\n1,1\n2,2\n3,3\n',
      {},
      { ...CLASSES, model: modelOf(4) },
    );
    expect(classNames).toEqual(['0', '1', '2', '3']);
    expect(warnings).toEqual([
      'class 0 never occurs: the labels run from 1 to 3; numbered from 0 they need no such outputs',
    ]);
  });

  test('labels from 1 to the number of classes are refused, and following the advice leads to a run', async () => {
    const text = 'x,y\n1,1\n2,2\n3,3\n';
    expect(await errorOf(loadText(text, { classes: 3 }, CLASSES))).toBe(
      'error[E_DATA_LABEL]: label 3; valid 0..2 (classes = 3); the labels run from 1 to 3\n  --> a.csv:4\n' +
        '  help: number the classes from 0, or have one class more, which never occurs: set data.classes: 4, and let the ' +
        'last layer give 4',
    );
    const larger = await loadText(text, { classes: 4 }, { ...CLASSES, model: modelOf(4) });
    expect(larger.dataset.layout.numClasses).toBe(4);
  });

  test('labels with gaps cause a warning that names the classes without rows', async () => {
    const { warnings } = await loadText('x,y\n1,0\n2,1\n3,9\n', {}, { ...CLASSES, model: modelOf(10) });
    expect(warnings).toEqual(['classes 2, 3, 4, 5, 6, 7, 8 of 10 never occur in the data']);
  });
});

test('a trained model reads new tables by its own rules', async () => {
  const directory = await directoryOf({ 'new.csv': 'a;c\n"1.100,5";"NA"\nnone;NA\n' });
  const warnings: string[] = [];
  const { rows } = await encodeTable({
    path: join(directory, 'new.csv'),
    transforms: {
      features: [
        { kind: 'numeric', column: 'a', mean: 0, scale: 1, fill: 7 },
        { kind: 'categorical', column: 'c', categories: ['', 'NA'] },
      ],
    },
    format: {
      delimiter: ';',
      decimal: ',',
      thousands: '.',
      header: true,
      missing: { default: 'mean', columns: { c: 'category' } },
      missingTokens: ['none', 'NA'],
    },
    warn: (message) => warnings.push(message),
  });
  expect([...rows]).toEqual([1100.5, 0, 1, 7, 1, 0]);
  expect(warnings).toEqual([]);
});
