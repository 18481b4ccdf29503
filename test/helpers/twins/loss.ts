// Losses and their gradients, row by row: nothing is averaged over rows. In float32 gradients are the
// kernels' bits; logarithms are the host's, so a loss with one may differ in the last bit of float64.
// Letters: B rows, O outputs, P positions, C classes.
import { resolveLoss } from '../../../src/losses/registry.ts';
import type { LossInput } from '../../../src/losses/registry.ts';
import type { Arithmetic, Values } from './arithmetic.ts';
import { exponential } from './transcendental.ts';
import { at } from './tree.ts';

export interface RowLosses {
  /** [B] */
  readonly losses: Float64Array;
  /** [B, O] */
  readonly dY: Values;
}

/** f32 of each row or position; all 1 if absent. */
export type Weights = ArrayLike<number> | undefined;

/** Loss and slope of one element; the slope of mse is half its derivative, as in the kernel. */
interface Elementwise {
  readonly numerator: number;
  loss(d: number): number;
  slope(d: number): number;
}

const SQUARED: Elementwise = { numerator: 2, loss: (d) => d * d, slope: (d) => d };
const ABSOLUTE: Elementwise = { numerator: 1, loss: Math.abs, slope: (d) => (d === 0 ? 0 : Math.sign(d)) };

function huberOf(given: number): Elementwise {
  // The kernel holds it as float32.
  const delta = Math.fround(given);
  return {
    numerator: 1,
    loss: (d) => Math.min(Math.abs(d), delta) * (Math.abs(d) - 0.5 * Math.min(Math.abs(d), delta)),
    slope: (d) => Math.max(Math.min(d, delta), -delta),
  };
}

type ValuesLoss = (
  arithmetic: Arithmetic,
  y: ArrayLike<number>,
  targets: ArrayLike<number>,
  columns: number,
  sampleWeights?: Weights,
) => RowLosses;

function valuesLoss({ numerator, loss, slope }: Elementwise): ValuesLoss {
  return (arithmetic, y, targets, columns, sampleWeights) => {
    const { round } = arithmetic;
    const dY = arithmetic.zeros(y.length);
    const losses = new Float64Array(y.length / columns);
    for (let row = 0; row < losses.length; row++) {
      const weight = sampleWeights ? at(sampleWeights, row) : 1;
      if (weight === 0) continue;
      const scale = round(round(numerator / columns) * weight);
      let sum = 0;
      for (let j = row * columns; j < (row + 1) * columns; j++) {
        const d = round(at(y, j) - at(targets, j));
        sum += loss(d);
        dY[j] = round(slope(d) * scale);
      }
      losses[row] = (sum / columns) * weight;
    }
    return { losses, dY };
  };
}

/** Loss of a row: mean over O of d^2, d = y - t; squares and sum in float64. */
export const meanSquaredError = valuesLoss(SQUARED);

/** Loss of a row: mean over O of |d|. */
export const meanAbsoluteError = valuesLoss(ABSOLUTE);

/** Loss of a row: mean over O of d^2 / 2 up to |d| = delta, and delta (|d| - delta / 2) beyond. */
export function huber(delta: number): ValuesLoss {
  return valuesLoss(huberOf(delta));
}

/** Loss of a row: mean over O of -t log p - (1 - t) log(1 - p), p = sigmoid(y). */
export const binaryCrossEntropy: ValuesLoss = (arithmetic, y, targets, columns, sampleWeights) => {
  const { round } = arithmetic;
  const dY = arithmetic.zeros(y.length);
  const losses = new Float64Array(y.length / columns);
  for (let row = 0; row < losses.length; row++) {
    const weight = sampleWeights ? at(sampleWeights, row) : 1;
    if (weight === 0) continue;
    const scale = round(weight / columns);
    let sum = 0;
    for (let j = row * columns; j < (row + 1) * columns; j++) {
      const [x, t] = [at(y, j), at(targets, j)];
      const e = exponential(arithmetic, -Math.abs(x));
      const p = round((x < 0 ? e : 1) / round(1 + e));
      dY[j] = round(round(p - t) * scale);
      sum += Math.max(x, 0) - x * t + Math.log1p(e);
    }
    losses[row] = (sum / columns) * weight;
  }
  return { losses, dY };
};

export interface CrossEntropyOptions {
  /** Default 1. */
  readonly positions?: number;
  /** Default 0. */
  readonly smoothing?: number;
  /** [B, P] */
  readonly sampleWeights?: Weights;
}

/**
 * Loss of a row: the sum over its positions of -sum_j q_j log softmax(y)_j, q = (1 - s) onehot(label) + s /
 * C.
 */
export function softmaxCrossEntropy(
  arithmetic: Arithmetic,
  y: ArrayLike<number>,
  labels: ArrayLike<number>,
  classes: number,
  { positions = 1, smoothing = 0, sampleWeights }: CrossEntropyOptions = {},
): RowLosses {
  const { round } = arithmetic;
  const dY = arithmetic.zeros(y.length);
  const losses = new Float64Array(y.length / classes / positions);
  const lower = round(smoothing / classes);
  const hit = round(1 - smoothing);
  for (let position = 0; position < losses.length * positions; position++) {
    const weight = sampleWeights ? at(sampleWeights, position) : 1;
    if (weight === 0) continue;
    const logits = Array.from({ length: classes }, (_, j) => at(y, position * classes + j));
    const label = at(labels, position);
    const max = Math.max(...logits);
    const powers = logits.map((value) => exponential(arithmetic, round(value - max)));
    const sum = sumOfLanes(arithmetic, powers);
    const factor = round(weight / sum);
    powers.forEach((value, j) => {
      const lowered = round(round(value * factor) - round(weight * lower));
      dY[position * classes + j] = j === label ? round(lowered - round(weight * hit)) : lowered;
    });
    const mean = logits.reduce((total, value) => total + value, 0) / classes;
    const smoothed = smoothing > 0 ? smoothing * (at(logits, label) - mean) : 0;
    const loss = Math.log(sum) + (max - at(logits, label)) + smoothed;
    losses[Math.floor(position / positions)]! += loss * weight;
  }
  return { losses, dY };
}

/** Four lanes, added pair by pair, then the values that fill no vector. */
function sumOfLanes({ round }: Arithmetic, values: readonly number[]): number {
  const lanes: [number, number, number, number] = [0, 0, 0, 0];
  const whole = values.length - (values.length % 4);
  for (let i = 0; i < whole; i++) lanes[i % 4] = round(at(lanes, i % 4) + at(values, i));
  const sum = round(round(lanes[0] + lanes[1]) + round(lanes[2] + lanes[3]));
  return values.slice(whole).reduce((total, value) => round(total + value), sum);
}

interface LossBatch {
  readonly y: ArrayLike<number>;
  readonly targets: ArrayLike<number>;
  /** Outputs of a row. */
  readonly columns: number;
  readonly sampleWeights?: Weights;
}

/** Any loss of a config, of rows with one label or one list of values each. */
export function runLoss(arithmetic: Arithmetic, loss: LossInput, batch: LossBatch): RowLosses {
  const { y, targets, columns, sampleWeights } = batch;
  const spec = resolveLoss(loss);
  switch (spec.kind) {
    case 'mse':
      return meanSquaredError(arithmetic, y, targets, columns, sampleWeights);
    case 'mae':
      return meanAbsoluteError(arithmetic, y, targets, columns, sampleWeights);
    case 'huber':
      return huber(spec.delta)(arithmetic, y, targets, columns, sampleWeights);
    case 'binaryCrossEntropy':
      return binaryCrossEntropy(arithmetic, y, targets, columns, sampleWeights);
    case 'crossEntropy':
      return softmaxCrossEntropy(arithmetic, y, targets, columns, {
        smoothing: spec.labelSmoothing,
        sampleWeights,
      });
    default:
      return spec satisfies never;
  }
}

/** Number of classes that rank before the label: larger logits, equal ones of a lower class, and NaN. */
export function labelRanks(y: ArrayLike<number>, labels: ArrayLike<number>, classes: number): number[] {
  return Array.from(labels, (label, position) => {
    const value = at(y, position * classes + label);
    let rank = 0;
    for (let j = 0; j < classes; j++) {
      const other = at(y, position * classes + j);
      const isBehind = other < value || (other === value && j > label);
      if (j !== label && !isBehind) rank++;
    }
    return rank;
  });
}
