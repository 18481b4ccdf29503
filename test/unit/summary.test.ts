import { describe, expect, test } from 'vitest';
import { formatSummary, type Summary } from '../../coordinator/output/summary.ts';

const SUMMARY: Summary = {
  name: 'house',
  seed: 7,
  numerics: 'strict',
  weightsSha256: 'ab'.repeat(32),
  epochs: 30,
  steps: 2370,
  samplesSeen: 608_550,
  workers: 2,
  wallSeconds: 14,
  trainSeconds: 12.3,
  samplesPerSecond: 49_475.6,
  train: { loss: 0.2134 },
  validation: {
    loss: 0.241,
    rmse: 25_123,
    mae: 18_000,
    r2: 0.8,
    transformed: { rmse: 0.4, mae: 0.3, r2: 0.83 },
  },
  test: { loss: 0.25, rmse: 26_123, mae: 19_000, r2: 0.79, transformed: { rmse: 0.41, mae: 0.31, r2: 0.82 } },
  best: { epoch: 27 },
};

describe('formatSummary', () => {
  test('shows a regression by split, in both units', () => {
    expect(formatSummary(SUMMARY)).toBe(
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

  test('tells of an early end', () => {
    expect(formatSummary({ ...SUMMARY, stoppedEarly: 30 })).toContain(
      '\nbest epoch 27, stopped early after epoch 30, weights sha256 ',
    );
  });

  test('shows a classification, and no split that is absent', () => {
    const test = { loss: 0.3, accuracy: 0.89, perClass: [] };
    const lines = formatSummary({ ...SUMMARY, validation: undefined, test }).split('\n');
    expect(lines.slice(1, 4).map((line) => line.trim().split(/\s+/))).toEqual([
      ['train', 'test'],
      ['loss', '0.2134', '0.3000'],
      ['accuracy', '0.8900'],
    ]);
  });
});
