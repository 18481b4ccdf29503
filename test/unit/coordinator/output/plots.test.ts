import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { renderPng, renderSvg, showable } from '../../../../coordinator/output/plot-render.ts';
import type { PlotInput } from '../../../../coordinator/output/plot-specs.ts';
import { plotName, plotSpec, renderPlots, specText } from '../../../../coordinator/output/plots.ts';
import type { TopLevelSpec } from 'vega-lite';
import { compileFiles, type Compiled } from '../../../helpers/compiled.ts';

const ACTUAL = Array.from({ length: 5000 }, (_, row) => 1000 * row);
const PREDICTED = ACTUAL.map((value, row) => value + (row % 7) * 5000);

const LOSS: PlotInput = {
  kind: 'lossCurves',
  loss: 'mse',
  epochs: [
    { epoch: 1, train: 1, validation: 0.9 },
    { epoch: 2, train: 0.5, validation: 0.6 },
  ],
  bestEpoch: 2,
};
const SCATTER: PlotInput = {
  kind: 'predictedVsActual',
  split: 'test',
  unit: 'price',
  actual: ACTUAL,
  predicted: PREDICTED,
  r2: 0.8123,
};
const RESIDUALS: PlotInput = { ...SCATTER, kind: 'residuals', split: 'validation' };
const CONFUSION: PlotInput = {
  kind: 'confusion',
  split: 'test',
  classes: ['no', 'yes', 'never seen'],
  counts: [
    [120, 13, 0],
    [22, 1045, 0],
    [0, 0, 0],
  ],
  accuracy: 0.97083,
};

/** The specification that the drawing process reads. */
function specOf(input: PlotInput): TopLevelSpec {
  return JSON.parse(specText(input)) as TopLevelSpec;
}

/** The lines of text of an SVG, in drawing order. */
function textsOf(svg: string): string[] {
  return [...svg.matchAll(/<(?:text|tspan)\b[^>]*>([^<]+)</g)].map((match) => match[1]!);
}

/** The number of marks of a kind in an SVG. */
function countMarks(svg: string, description: string): number {
  return svg.split(`aria-roledescription="${description}"`).length - 1;
}

describe('the plots of a run', () => {
  test('plots have stable file names', () => {
    expect([LOSS, SCATTER, RESIDUALS, CONFUSION].map(plotName)).toEqual([
      'loss-curves',
      'test-predicted-vs-actual',
      'validation-residuals',
      'test-confusion',
    ]);
    expect(plotName({ ...SCATTER, fileSuffix: '-y2' })).toBe('test-predicted-vs-actual-y2');
  });

  test('loss curves name both splits, the loss and the best epoch', async () => {
    const texts = textsOf(await renderSvg(plotSpec(LOSS)));
    expect(texts).toEqual(
      expect.arrayContaining([
        'Loss by epoch',
        'Dashed: the best epoch, 2',
        'epoch',
        'mean loss (mse)',
        'train',
        'validation',
      ]),
    );
  });

  test('loss curves name the metric that made an epoch the best, if that was not the loss', async () => {
    const bestBy = 'greatest validation r2';
    expect(textsOf(await renderSvg(plotSpec({ ...LOSS, bestBy })))).toContain(
      'Dashed: the best epoch, 2 (greatest validation r2)',
    );
  });

  test('loss curves of a run without validation, or with a loss that is not a number, are drawn', async () => {
    const epochs = [
      { epoch: 1, train: 1 },
      { epoch: 2, train: Number.NaN },
    ];
    const texts = textsOf(await renderSvg(plotSpec({ kind: 'lossCurves', loss: 'mse', epochs })));
    expect(texts).toContain('train');
    expect(texts).not.toContain('validation');
  });

  test('the plot of predicted against actual values has units, the line y = x and at most 2,000 points', async () => {
    const svg = await renderSvg(plotSpec(SCATTER));
    expect(textsOf(svg)).toEqual(
      expect.arrayContaining([
        'Predicted against actual price (test)',
        'R² 0.8123 over all rows; 2,000 of 5,000 rows shown',
        'price (actual)',
        'price (predicted)',
        'y = x',
        '1M',
      ]),
    );
    expect(countMarks(svg, 'circle')).toBe(2000);
    expect(countMarks(svg, 'line mark')).toBe(1);
  });

  test('a ROC curve names its area and the positive class, and stays small', async () => {
    const rates = Array.from({ length: 5000 }, (_, i) => i / 4999);
    const roc: PlotInput = {
      kind: 'roc',
      split: 'test',
      positive: 'sick',
      falsePositiveRates: rates,
      truePositiveRates: rates.map(Math.sqrt),
      area: 2 / 3,
    };
    expect(plotName(roc)).toBe('test-roc');
    const svg = await renderSvg(plotSpec(roc));
    expect(textsOf(svg)).toEqual(
      expect.arrayContaining([
        'ROC curve (test)',
        'Area under the curve 0.6667; positive: sick',
        'false positive rate',
        'true positive rate',
        '100%',
      ]),
    );
    expect(svg.length).toBeLessThan(100_000);
  });

  test.each([SCATTER, RESIDUALS])(
    'axes can have any text of the user in their titles ($kind)',
    async (input) => {
      const unit = 'price\n(USD) \\ "\\u001b\u001b';
      const svg = await renderSvg(specOf({ ...input, unit }));
      const shown = 'price↵(USD) \\ "\\u001b\\u001b (predicted)';
      expect(textsOf(svg).map((text) => text.replaceAll('&quot;', '"'))).toContain(shown);
      expect(renderPng(svg).length).toBeGreaterThan(0);
    },
  );

  test('classes can have any name, even one that XML cannot hold', async () => {
    const classes = ['a\ufffe', 'b\ud800', 'c\uffff', 'd\u0000\n\\'];
    const counts = classes.map(() => classes.map(() => 7));
    const svg = await renderSvg(specOf({ ...CONFUSION, classes, counts }));
    const shown = ['a\\ufffe', 'b\\ud800', 'c\\uffff', 'd\\u0000↵\\'];
    expect(textsOf(svg).filter((text) => shown.includes(text))).toEqual([...shown, ...shown]);
    expect(renderPng(svg).length).toBeGreaterThan(0);
  });

  test('a plot of residuals has a zero line', async () => {
    const svg = await renderSvg(plotSpec(RESIDUALS));
    expect(textsOf(svg)).toEqual(
      expect.arrayContaining([
        'Residuals of price (validation)',
        'price (predicted)',
        'price (actual − predicted)',
      ]),
    );
    expect(countMarks(svg, 'rule mark')).toBe(1);
  });

  test('a scatter plot without a finite row is drawn empty', async () => {
    const input: PlotInput = { ...SCATTER, actual: [Number.NaN], predicted: [1] };
    expect(countMarks(await renderSvg(plotSpec(input)), 'circle')).toBe(0);
  });

  test('a confusion matrix shows every count and class, in the given order', async () => {
    const texts = textsOf(await renderSvg(plotSpec(CONFUSION)));
    expect(texts).toEqual(
      expect.arrayContaining([
        'Confusion matrix (test)',
        'Accuracy 97.08 %; colour: share of the actual class',
      ]),
    );
    expect(texts.filter((text) => /^[\d,]+$/.test(text))).toEqual([
      '120',
      '13',
      '0',
      '22',
      '1,045',
      '0',
      '0',
      '0',
      '0',
    ]);
    expect(texts.filter((text) => CONFUSION.classes.includes(text))).toEqual([
      ...CONFUSION.classes,
      ...CONFUSION.classes,
    ]);
  });

  test('a confusion matrix of many classes leaves the counts out', async () => {
    const classes = Array.from({ length: 30 }, (_, label) => `class ${label}`);
    const counts = classes.map(() => classes.map(() => 7));
    const svg = await renderSvg(
      plotSpec({ kind: 'confusion', split: 'test', classes, counts, accuracy: 0.1 }),
    );
    expect(textsOf(svg)).not.toContain('7');
    expect(countMarks(svg, 'rect mark')).toBe(900);
  });

  test('a curve has a logarithmic axis where its greatest value is at least 20 times the median', async () => {
    const curve = (ys: readonly number[]): PlotInput => ({
      kind: 'gradientNorm',
      points: ys.map((y, x) => ({ x, y })),
    });
    const typeOf = (ys: readonly number[]): unknown => specText(curve(ys)).includes('"type":"log"');
    expect(typeOf([20, 1, 1])).toBe(true);
    expect(typeOf([19.9, 1, 1])).toBe(false);
    expect(typeOf([20, 1, 1, Number.NaN])).toBe(true);
    expect(typeOf([20, 1, 0])).toBe(false);
    expect(typeOf([])).toBe(false);
    expect(countMarks(await renderSvg(specOf(curve([20, 1, 0.001]))), 'line mark')).toBe(1);
  });

  test('every metric has a panel of its own', async () => {
    const points = [
      { x: 1, y: 0.5 },
      { x: 2, y: 0.6 },
    ];
    const curves = ['r2', 'macro/f1', 'top5'].map((name) => ({ name, points }));
    const svg = await renderSvg(specOf({ kind: 'metricCurves', curves, bestEpoch: 2 }));
    expect(textsOf(svg)).toEqual(
      expect.arrayContaining([
        'Validation metrics by epoch',
        'Dashed: the best epoch, 2',
        'r2',
        'macro/f1',
        'top5',
      ]),
    );
    expect(countMarks(svg, 'line mark')).toBe(3);
    expect(countMarks(svg, 'rule mark')).toBe(3);
  });

  test('a histogram of residuals counts every row, the outermost in the outermost bins', async () => {
    const actual = Array.from({ length: 1000 }, (_, row) => (row === 0 ? 1e6 : row % 100));
    const plot: PlotInput = {
      kind: 'residualHistogram',
      split: 'test',
      unit: 'price',
      actual: [...actual, Number.NaN],
      predicted: [...actual.map(() => 0), 0],
    };
    expect(plotName(plot)).toBe('test-residual-histogram');
    const [bars] = (plotSpec(plot) as { layer: { data: { values: { to: number; count: number }[] } }[] })
      .layer;
    expect(bars?.data.values.reduce((sum, { count }) => sum + count, 0)).toBe(1000);
    expect(bars?.data.values.at(-1)?.to).toBeLessThan(100);
    expect(textsOf(await renderSvg(specOf(plot)))).toContain(
      'Dashed: the median, 50.00; mean 1050; 1,000 rows',
    );
  });

  test('a histogram of equal residuals, and one of none, are drawn', async () => {
    for (const actual of [[5, 5, 5], []]) {
      const predicted = actual.map(() => 0);
      const plot: PlotInput = { kind: 'residualHistogram', split: 'test', unit: 'y', actual, predicted };
      expect(countMarks(await renderSvg(specOf(plot)), 'bar')).toBe(actual.length > 0 ? 1 : 0);
    }
  });

  test('precision and recall have a line for each class, which names its average precision', async () => {
    const curve = { recalls: [0.5, 1], precisions: [1, 0.5], averagePrecision: 0.75 };
    const curves = ['cat', 'dog'].map((name) => ({ name, ...curve }));
    const svg = await renderSvg(
      specOf({ kind: 'precisionRecall', split: 'test', curves, note: 'the 2 of 9' }),
    );
    expect(textsOf(svg)).toEqual(
      expect.arrayContaining(['cat (0.7500)', 'dog (0.7500)', 'the 2 of 9', 'recall']),
    );
    expect(countMarks(svg, 'line mark')).toBe(2);
  });

  test('a plot of calibration names whose probability it is', async () => {
    const bins = [{ from: 0.1, to: 0.2, share: 1, expected: 0.15, observed: 0.25 }];
    const plot = { kind: 'calibration', split: 'test', bins, error: 0.1 } as const;
    expect(textsOf(await renderSvg(specOf(plot)))).toContain('mean probability of the predicted class');
    const texts = textsOf(await renderSvg(specOf({ ...plot, positive: 'sick' })));
    expect(texts).toContain('mean probability of sick');
    expect(texts).toContain('Mean distance from the diagonal, by rows: 10.00 %; area of a point: its rows');
  });

  test('bars by class show all classes, or of many those with the lowest F1', async () => {
    const classes = Array.from({ length: 40 }, (_, label) => ({
      name: `class ${label}`,
      precision: 0.5,
      recall: 0.5,
      f1: 1 - label / 100,
      support: 1234,
    }));
    const few = await renderSvg(specOf({ kind: 'perClass', split: 'test', classes: classes.slice(0, 3) }));
    expect(countMarks(few, 'bar')).toBe(9);
    expect(textsOf(few)).toContain('class 0 (1,234)');
    const many = await renderSvg(specOf({ kind: 'perClass', split: 'test', classes }));
    expect(countMarks(many, 'bar')).toBe(90);
    expect(textsOf(many)).toContain('class 39 (1,234)');
    expect(textsOf(many)).not.toContain('class 9 (1,234)');
    expect(textsOf(many)).toContain('In brackets: rows of the class; the 30 lowest F1 of 40 classes');
  });

  test('importance has a bar for each column, or for the 30 greatest', async () => {
    const columns = Array.from({ length: 31 }, (_, i) => ({ name: `column ${i}`, increase: 31 - i }));
    const plot: PlotInput = { kind: 'importance', columns, measure: 'log loss', rows: 1000, allRows: 2536 };
    const svg = await renderSvg(specOf(plot));
    expect(countMarks(svg, 'bar')).toBe(30);
    expect(textsOf(svg)).toContain(
      '1,000 of 2,536 rows of the validation split; the 30 greatest of 31 columns',
    );
  });

  test('a character that no font has is an escape in a PNG, and stays in an SVG', async () => {
    const classes = ['\u{f0000}x', 'größer', 'раз'];
    const counts = classes.map(() => classes.map(() => 7));
    const spec = plotSpec({ ...CONFUSION, classes, counts });
    expect(textsOf(await renderSvg(spec))).toContain('\u{f0000}x');
    const shown = textsOf(await renderSvg(showable(spec)));
    expect(shown).toEqual(expect.arrayContaining(['\\udb80\\udc…', 'größer', 'раз']));
    const plain = plotSpec(CONFUSION);
    expect(showable(plain)).toBe(plain);
  });

  test('text is drawn without any font of the system', () => {
    const svg = (content: string): string =>
      `<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">${content}</svg>`;
    const drawn = renderPng(svg('<text y="15" font-family="sans-serif">x</text>'));
    expect(drawn).not.toEqual(renderPng(svg('')));
  });
});

describe('renderPlots', () => {
  let compiled: Compiled;
  let directory: string;

  beforeAll(() => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-plots-'));
    const files = ['coordinator/output/plot-process.ts', 'coordinator/output/plot-render.ts'];
    compiled = compileFiles(files, { withPackages: true });
  });
  afterAll(() => {
    fs.rmSync(directory, { recursive: true });
    compiled.remove();
  });

  test('renderPlots writes the specification, SVG and PNG of each plot from a process of its own', async () => {
    const warnings: string[] = [];
    const plots = path.join(directory, 'plots');
    const logarithmic: PlotInput = { kind: 'gradientNorm', points: [20, 1, 1].map((y, x) => ({ x, y })) };
    await renderPlots(plots, [LOSS, CONFUSION, logarithmic], {
      warn: (message) => warnings.push(message),
      program: path.join(compiled.directory, 'plot-process.js'),
    });
    const extensions = ['png', 'svg', 'vl.json'];
    expect(fs.readdirSync(plots).sort()).toEqual(
      ['gradient-norm', 'loss-curves', 'test-confusion'].flatMap((name) =>
        extensions.map((extension) => `${name}.${extension}`),
      ),
    );
    expect(warnings).toEqual([]);
  });

  test('a PNG is drawn at twice the size of the plot', async () => {
    const png = Buffer.from(renderPng(await renderSvg(plotSpec(LOSS))));
    expect(png.readUInt32BE(16)).toBeGreaterThan(1200);
  });

  test('renderPlots warns of a process that is late and of one that fails, and never throws', async () => {
    const warnings: string[] = [];
    const warn = (message: string): void => void warnings.push(message);
    const late = path.join(directory, 'late.mjs');
    fs.writeFileSync(late, 'setInterval(() => {}, 1000);');
    const failing = path.join(directory, 'failing.mjs');
    fs.writeFileSync(failing, 'console.error("loss-curves: no such mark"); process.exit(1);');
    await renderPlots(directory, [LOSS], { warn, program: late, deadlineMs: 200 });
    await renderPlots(directory, [LOSS], { warn, program: failing });
    await renderPlots(path.join(late, 'below'), [LOSS], { warn, program: failing });
    expect(warnings).toEqual([
      'plots: not drawn within 0.2 s',
      'plots: loss-curves: no such mark',
      `plots: ENOTDIR: not a directory, mkdir '${path.join(late, 'below')}'`,
    ]);
  });
});
