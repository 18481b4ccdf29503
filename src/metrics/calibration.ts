// How often predictions come true, beside the probability that they were given.
import type { SampleWeights } from './weighting.ts';

/** Predictions whose probabilities lie between two tenths. */
export interface CalibrationBin {
  /** Bounds of the probabilities; the upper one belongs to the bin only where it is 1. */
  readonly from: number;
  readonly to: number;
  /** Weight of its rows, as a share of all. */
  readonly share: number;
  /** Mean probability. */
  readonly expected: number;
  /** Share that came true. */
  readonly observed: number;
}

/** Bins, empty ones left out, and the error that they add up to. */
export interface Calibration {
  readonly bins: readonly CalibrationBin[];
  /** Mean distance of expected and observed shares, by the weights of the bins. */
  readonly error: number;
}

const NUM_BINS = 10;

/** Compares probabilities with what came true; rows whose probability is not a number are left out. */
export function calibrate(
  probabilities: Float64Array,
  cameTrue: (row: number) => boolean,
  sampleWeights?: SampleWeights,
): Calibration {
  const sums = Array.from({ length: NUM_BINS }, () => ({ weight: 0, expected: 0, observed: 0 }));
  probabilities.forEach((probability, row) => {
    const weight = sampleWeights ? sampleWeights[row]! : 1;
    const sum = sums[Math.min(NUM_BINS - 1, Math.floor(probability * NUM_BINS))];
    if (!sum || weight === 0) return;
    sum.weight += weight;
    sum.expected += weight * probability;
    if (cameTrue(row)) sum.observed += weight;
  });
  const total = sums.reduce((sum, { weight }) => sum + weight, 0);
  const bins = sums.flatMap(({ weight, expected, observed }, i) => {
    if (weight === 0) return [];
    const bounds = { from: i / NUM_BINS, to: (i + 1) / NUM_BINS };
    return [{ ...bounds, share: weight / total, expected: expected / weight, observed: observed / weight }];
  });
  const error = bins.reduce((sum, bin) => sum + bin.share * Math.abs(bin.expected - bin.observed), 0);
  return { bins, error };
}
