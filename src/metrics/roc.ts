// The receiver operating characteristic of scores for two classes: how many positives and negatives lie
// above each threshold. Exact: rows of equal score share one point, so a tie counts as half a win.
import type { SampleWeights } from './weighting.ts';

/** A ROC curve from (0, 0) to (1, 1), by falling thresholds. */
export interface RocCurve {
  /** Share of negatives above the threshold. */
  readonly falsePositiveRates: readonly number[];
  /** Share of positives above the threshold. */
  readonly truePositiveRates: readonly number[];
  /** Area under the curve: the chance that a positive scores above a negative. */
  readonly area: number;
}

/**
 * The curve of scores for the class 1 of `labels` (0 or 1); undefined where one of the classes has no
 * weight.
 */
export function rocCurve(
  scores: Float64Array,
  labels: ArrayLike<number>,
  sampleWeights?: SampleWeights,
): RocCurve | undefined {
  // Rows of weight 0 are left out: their scores may be NaN, which has no order.
  const order = Uint32Array.from(scores, (_, row) => row)
    .filter((row) => sampleWeights?.[row] !== 0)
    .sort((a, b) => scores[b]! - scores[a]!);
  const counts = [{ negatives: 0, positives: 0 }];
  let [negatives, positives] = [0, 0];
  order.forEach((row, place) => {
    const weight = sampleWeights ? sampleWeights[row]! : 1;
    if (labels[row] === 1) positives += weight;
    else negatives += weight;
    const isLastOfScore = place + 1 === order.length || scores[order[place + 1]!] !== scores[row];
    if (isLastOfScore) counts.push({ negatives, positives });
  });
  if (negatives === 0 || positives === 0) return undefined;
  let area = 0;
  for (let i = 1; i < counts.length; i++) {
    const [left, right] = [counts[i - 1]!, counts[i]!];
    area += (right.negatives - left.negatives) * (left.positives + right.positives);
  }
  return {
    falsePositiveRates: counts.map((count) => count.negatives / negatives),
    truePositiveRates: counts.map((count) => count.positives / positives),
    area: area / 2 / (negatives * positives),
  };
}
