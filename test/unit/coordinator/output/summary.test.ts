import { describe, expect, test } from 'vitest';
import { formatMetricsTable, formatSummary } from '../../../../coordinator/output/summary.ts';
import { HOUSE_SUMMARY } from '../../../helpers/house-summary.ts';

describe('formatSummary', () => {
  test('the summary of a regression shows each split, in both units', () => {
    expect(formatSummary(HOUSE_SUMMARY)).toBe(
      `house: 30 epochs, 2,370 steps, 608,550 samples in 12.3 s (49,476 samples/s, 2 workers)
                    train   validation     test
loss               0.2134       0.2410   0.2500
rmse                            25,123   26,123
mae                             18,000   19,000
r2                              0.8000   0.7900
transformed/rmse                0.4000   0.4100
transformed/mae                 0.3000   0.3100
transformed/r2                  0.8300   0.8200
best epoch 27, weights sha256 ${'ab'.repeat(32)}
`,
    );
  });

  test('the summary reports that a run ended early', () => {
    expect(formatSummary({ ...HOUSE_SUMMARY, stoppedEarly: 30 })).toContain(
      '\nbest epoch 27, stopped early after epoch 30, weights sha256 ',
    );
  });

  test('the summary of a sequence classification leaves out absent splits', () => {
    const test = { loss: 0.3, accuracy: 0.89, perplexity: 1.35 };
    const lines = formatSummary({ ...HOUSE_SUMMARY, validation: undefined, test }).split('\n');
    expect(lines.slice(1, 5).map((line) => line.trim().split(/\s+/))).toEqual([
      ['train', 'test'],
      ['loss', '0.2134', '0.3000'],
      ['accuracy', '0.8900'],
      ['perplexity', '1.350'],
    ]);
  });
});

test('the summary shows a count among the metrics as a whole number', () => {
  const table = formatMetricsTable([['data', { mape: 0.5, mapeZeros: 8 }]]);
  expect(table).toMatch(/mape +0\.5000\nmapeZeros +8$/);
});
