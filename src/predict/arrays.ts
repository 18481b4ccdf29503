// Predictions as arrays of NumPy, one archive for all of them.
import { encodeNpz } from '../data/array/npy-file.ts';
import type { FittedTransforms } from '../data/dataset/transforms.ts';
import type { ClassPrediction, Prediction, ValuesPrediction } from './predictions.ts';

/**
 * Encodes predictions as an .npz archive. Of classes: `class`, int32 [samples], `probabilities`, f64
 * [samples, classes], and the texts `classes`; of numbers: `values`, f64 [samples, targets], and the texts
 * `targets`. Positions come after samples.
 */
export function encodePredictions(
  predictions: Iterable<Prediction>,
  { target }: Pick<FittedTransforms, 'target'>,
): Uint8Array {
  const indices: number[] = [];
  const numbers: Float64Array[] = [];
  let numSamples = 0;
  const add = (prediction: ValuesPrediction | ClassPrediction): void => {
    if (prediction.kind === 'class') indices.push(prediction.index);
    numbers.push(
      prediction.kind === 'class'
        ? prediction.probabilities
        : Float64Array.from(names, (name) => prediction.values[name] as number),
    );
  };
  const names = target.kind === 'labels' ? target.classNames : target.columns.map(({ column }) => column);
  for (const prediction of predictions) {
    numSamples++;
    if (prediction.kind !== 'positions') add(prediction);
    else for (const own of prediction.positions) add(own);
  }
  const shape = target.positions === undefined ? [numSamples] : [numSamples, target.positions];
  const values = { values: joined(numbers, names.length), shape: [...shape, names.length] };
  const texts = { values: names, shape: [names.length] };
  return target.kind === 'labels'
    ? encodeNpz({ class: { values: Int32Array.from(indices), shape }, probabilities: values, classes: texts })
    : encodeNpz({ values, targets: texts });
}

function joined(rows: readonly Float64Array[], width: number): Float64Array {
  const all = new Float64Array(rows.length * width);
  for (const [at, row] of rows.entries()) all.set(row, at * width);
  return all;
}
