import { describe, expect, test } from 'vitest';
import { formatMetricsTable, formatSummary } from '../../../../coordinator/output/summary.ts';
import type { SplitMetrics } from '../../../../src/metrics/definitions.ts';
import { HOUSE_SUMMARY } from '../../../helpers/house-summary.ts';

const TEXT = { columns: 80, classNames: [], advice: [] };

/** Metrics of as many classes, of which each next one is predicted better. */
function classMetrics(count: number): SplitMetrics {
  const perClass = Array.from({ length: count }, (_, label) => ({
    precision: 0.5,
    recall: (label + 1) / count,
    f1: (label + 1) / count,
    support: 100 * label,
  }));
  return { loss: 0.3, accuracy: 0.9, perClass, macro: { precision: 0.5, recall: 0.5, f1: 0.5 } };
}

describe('formatSummary', () => {
  test('the summary of a regression shows each split, in both units, beside the baseline', () => {
    const baseline = { kind: 'mean', rmse: 61_387, mae: 41_971, r2: 0 } as const;
    expect(formatSummary({ ...HOUSE_SUMMARY, baseline }, TEXT)).toBe(
      `house: 30 epochs, 2,370 steps, 609k samples in 12 s, 49k samples/s, 2 workers
                    train   validation     test   baseline
loss               0.2134       0.2410   0.2500
rmse                            25,123   26,123     61,387
mae                             18,000   19,000     41,971
r2                              0.8000   0.7900      0.000
transformed/rmse                0.4000   0.4100
transformed/mae                 0.3000   0.3100
transformed/r2                  0.8300   0.8200
baseline: always the mean of the training targets
best epoch 27
weights sha256 ${'ab'.repeat(32)}
`,
    );
  });

  test('the summary reports that a run ended early', () => {
    expect(formatSummary({ ...HOUSE_SUMMARY, stoppedEarly: 30 }, TEXT)).toContain(
      '\nbest epoch 27, stopped early after epoch 30\nweights sha256 ',
    );
  });

  test('the summary of a sequence classification leaves out absent splits', () => {
    const test = { loss: 0.3, accuracy: 0.89, perplexity: 1.35 };
    const lines = formatSummary({ ...HOUSE_SUMMARY, validation: undefined, test }, TEXT).split('\n');
    expect(lines.slice(1, 5).map((line) => line.trim().split(/\s+/))).toEqual([
      ['train', 'test'],
      ['loss', '0.2134', '0.3000'],
      ['accuracy', '0.8900'],
      ['perplexity', '1.350'],
    ]);
  });

  test('the summary of a classification has a line for each class by its name', () => {
    const baseline = { kind: 'majority', className: 'cat', accuracy: 0.4 } as const;
    const summary = { ...HOUSE_SUMMARY, validation: undefined, test: classMetrics(2), baseline };
    const text = formatSummary(summary, { ...TEXT, classNames: ['a\ncat', 'x'.repeat(40)] });
    expect(text).toContain(`
accuracy                   0.9000     0.4000
macro/precision            0.5000
macro/recall               0.5000
macro/f1                   0.5000
baseline: always the most frequent class, "cat"

class                              precision   recall       f1   support
a↵cat                                 0.5000   0.5000   0.5000         0
${'x'.repeat(31)}…      0.5000    1.000    1.000       100
best epoch 27
`);
  });

  test('of many classes the summary shows those with the least f1 that occur, and says so', () => {
    const names = Array.from({ length: 21 }, (_, label) => `class ${label}`);
    const summary = { ...HOUSE_SUMMARY, test: classMetrics(21) };
    const text = formatSummary(summary, { ...TEXT, classNames: names });
    expect(text.match(/^class \d+/gm)).toEqual(names.slice(1, 11));
    expect(text).toContain('\nthe 10 classes of 21 with the least f1; summary.json has all\n');
    const few = formatSummary({ ...HOUSE_SUMMARY, test: classMetrics(20) }, { ...TEXT, classNames: names });
    expect(few.match(/^class \d+/gm)).toEqual(names.slice(0, 20));
  });

  test('without a test split the classes are those of the validation split', () => {
    const summary = { ...HOUSE_SUMMARY, validation: classMetrics(2), test: undefined };
    expect(formatSummary(summary, { ...TEXT, classNames: ['no', 'yes'] })).toMatch(/^yes +0\.5000 +1\.000/m);
  });

  test('every line of a summary fits the width, and its advice ends it', () => {
    const advice = ['the validation loss still fell in the last epoch, by 2 %: train longer (epochs: 6)'];
    const summary = { ...HOUSE_SUMMARY, name: 'n'.repeat(64), stoppedEarly: 30 };
    const lines = formatSummary(summary, { ...TEXT, advice }).split('\n');
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(lines.slice(-3)).toEqual([
      'advice: the validation loss still fell in the last epoch, by 2 %: train longer',
      '    (epochs: 6)',
      '',
    ]);
  });
});

test('the summary shows a count among the metrics as a whole number', () => {
  const table = formatMetricsTable([['data', { mape: 0.5, mapeZeros: 8 }]]);
  expect(table).toMatch(/mape +0\.5000\nmapeZeros +8$/);
});
