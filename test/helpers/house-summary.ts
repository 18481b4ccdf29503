// The summary of a regression, as a run on the houses would write it.
import type { Summary } from '../../coordinator/output/summary.ts';

export const HOUSE_SUMMARY: Summary = {
  name: 'house',
  seed: 7,
  numerics: 'strict',
  kernelWidth: 128,
  wire: { gradients: 'f32' },
  shards: 8,
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
