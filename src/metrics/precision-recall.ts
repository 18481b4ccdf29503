// The precision of scores for a class against the share of the class that they find. Exact: rows of
// equal score share one point.
import { ratio } from './weighting.ts';
import type { SampleWeights } from './weighting.ts';

/** A precision-recall curve, by falling thresholds. */
export interface PrecisionRecallCurve {
  /** Share of the class above the threshold, rising to 1. */
  readonly recalls: readonly number[];
  /** Share of the rows above the threshold that are of the class. */
  readonly precisions: readonly number[];
  /** Sum over the curve's points of precision times the rise in recall, as scikit-learn defines it. */
  readonly averagePrecision: number;
}

/** The curve of scores for the rows that `isOfClass`; undefined where no row of the class has a weight. */
export function precisionRecall(
  scores: Float64Array,
  isOfClass: (row: number) => boolean,
  sampleWeights?: SampleWeights,
): PrecisionRecallCurve | undefined {
  const order = Uint32Array.from(scores, (_, row) => row)
    .filter((row) => sampleWeights?.[row] !== 0)
    .sort((a, b) => scores[b]! - scores[a]!);
  const points: { found: number; chosen: number }[] = [];
  let [found, chosen] = [0, 0];
  order.forEach((row, place) => {
    const weight = sampleWeights ? sampleWeights[row]! : 1;
    chosen += weight;
    if (isOfClass(row)) found += weight;
    const next = order[place + 1];
    if (next === undefined || scores[next] !== scores[row]) points.push({ found, chosen });
  });
  if (found === 0) return undefined;
  const recalls = points.map((point) => point.found / found);
  const precisions = points.map((point) => ratio(point.found, point.chosen));
  const averagePrecision = recalls.reduce(
    (sum, recall, i) => sum + (recall - (recalls[i - 1] ?? 0)) * precisions[i]!,
    0,
  );
  return { recalls, precisions, averagePrecision };
}
