// What a classification's logits give for plots: curves of precision and recall, and calibration.
import { calibrate } from '../../src/metrics/calibration.ts';
import { precisionRecall } from '../../src/metrics/precision-recall.ts';
import type { HostMath } from '../../src/kernels/host-math.ts';
import { formatCount } from '../../src/printable.ts';
import type { ClassScores } from '../training/measure.ts';
import type { CalibrationPlot, PlotInput, PlottedSplit, PrecisionRecallPlot } from './plot-specs.ts';

/** Probabilities that are computed for plots, at most; of more rows, some at a fixed stride are taken. */
const MAX_PROBABILITIES = 5_000_000;
/** More curves in one plot cannot be told apart. */
const MAX_CURVES = 8;

/** Probabilities of each class, of all rows or of some. */
interface Probabilities {
  /** The probabilities of each class, row by row. */
  readonly byClass: readonly Float64Array[];
  readonly labels: Uint32Array;
  readonly weights: Float32Array | undefined;
  readonly note: string | undefined;
}

/** Plots of a measured split's scores. */
export function scorePlots(
  split: PlottedSplit,
  scores: ClassScores,
  { classes, math }: { readonly classes: readonly string[]; readonly math: HostMath },
): PlotInput[] {
  const probabilities = probabilitiesOf(scores, math);
  const nameOf = (label: number): string => classes[label] ?? String(label);
  return [
    ...precisionRecallPlot(split, probabilities, nameOf),
    calibrationPlot(split, probabilities, nameOf),
  ];
}

function probabilitiesOf(
  { logits, numLogits, labels, sampleWeights }: ClassScores,
  math: HostMath,
): Probabilities {
  const allRows = labels.length;
  const numRows = Math.max(1, Math.min(allRows, Math.floor(MAX_PROBABILITIES / numLogits)));
  const rows = Uint32Array.from({ length: numRows }, (_, i) => Math.floor((i * allRows) / numRows));
  const byClass = Array.from({ length: Math.max(2, numLogits) }, () => new Float64Array(numRows));
  rows.forEach((row, i) => {
    const own = logits.subarray(row * numLogits, (row + 1) * numLogits);
    const values = numLogits === 1 ? [0, own[0]!] : own;
    let most = -Infinity;
    for (const value of values) most = Math.max(most, value);
    const powers = Array.from(values, (value) => math.exp(value - most));
    const sum = powers.reduce((total, power) => total + power, 0);
    powers.forEach((power, label) => (byClass[label]![i] = power / sum));
  });
  return {
    byClass,
    labels: Uint32Array.from(rows, (row) => labels[row]!),
    weights: sampleWeights && Float32Array.from(rows, (row) => sampleWeights[row]!),
    note: numRows < allRows ? `${formatCount(numRows)} of ${formatCount(allRows)} rows` : undefined,
  };
}

/** A curve of the second of two classes; of more classes, one of each, or of those with the most rows. */
function precisionRecallPlot(
  split: PlottedSplit,
  { byClass, labels, weights, note }: Probabilities,
  nameOf: (label: number) => string,
): PrecisionRecallPlot[] {
  const counts = new Uint32Array(byClass.length);
  for (const label of labels) counts[label]! += 1;
  const chosen = byClass.length === 2 ? [1] : [...byClass.keys()];
  const largest = chosen.sort((a, b) => counts[b]! - counts[a]! || a - b).slice(0, MAX_CURVES);
  const curves = largest
    .sort((a, b) => a - b)
    .flatMap((label) => {
      const curve = precisionRecall(byClass[label]!, (row) => labels[row] === label, weights);
      return curve ? [{ ...curve, name: nameOf(label) }] : [];
    });
  if (curves.length === 0) return [];
  const many = `the ${MAX_CURVES} classes with the most rows, of ${formatCount(byClass.length)}`;
  const notes = [...(byClass.length > MAX_CURVES ? [many] : []), ...(note === undefined ? [] : [note])];
  return [{ kind: 'precisionRecall', split, curves, note: notes.length > 0 ? notes.join('; ') : undefined }];
}

function calibrationPlot(
  split: PlottedSplit,
  { byClass, labels, weights, note }: Probabilities,
  nameOf: (label: number) => string,
): CalibrationPlot {
  if (byClass.length === 2) {
    const cameTrue = (row: number): boolean => labels[row] === 1;
    return {
      kind: 'calibration',
      split,
      positive: nameOf(1),
      note,
      ...calibrate(byClass[1]!, cameTrue, weights),
    };
  }
  const likeliest = Uint32Array.from(labels, (_, row) => {
    let best = 0;
    for (let label = 1; label < byClass.length; label++)
      if (byClass[label]![row]! > byClass[best]![row]!) best = label;
    return best;
  });
  const highest = Float64Array.from(likeliest, (label, row) => byClass[label]![row]!);
  const cameTrue = (row: number): boolean => labels[row] === likeliest[row];
  return { kind: 'calibration', split, note, ...calibrate(highest, cameTrue, weights) };
}
