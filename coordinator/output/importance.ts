// The importance of a table's columns: how much worse the trained model gets when the values of a column
// change places among rows of the validation split. Computed here, not by workers, after the run; the
// same for equal weights, and bounded by the number of rows.
import { setImmediate } from 'node:timers/promises';
import type { Config } from '../../src/config/schema.ts';
import { featuresOf, targetView } from '../../src/data/dataset/packed-dataset.ts';
import { featureWidth, inverseTarget } from '../../src/data/dataset/transforms.ts';
import type { LoadedData } from '../../src/data/load.ts';
import type { HostMath } from '../../src/kernels/host-math.ts';
import { loadModel } from '../../src/predict/load-model.ts';
import { shuffledIndices } from '../../src/random.ts';
import type { ImportancePlot } from './plot-specs.ts';

/** Rows that are shuffled, at most. */
const MAX_ROWS = 1000;
/** Fewer tell nothing. */
const MIN_ROWS = 20;
/** Parameters, times rows, times columns: some ten seconds of a slow machine. */
const MAX_WORK = 2e10;

/** The parts that importance is measured from. */
export interface ImportanceOptions {
  readonly config: Config;
  readonly data: LoadedData;
  readonly math: HostMath;
  /** Directory of the saved model. */
  readonly modelPath: string;
  readonly numParameters: number;
}

/** Neighbouring features that come from one column. */
interface Column {
  readonly name: string;
  readonly first: number;
  readonly width: number;
}

/**
 * Measures the importance of every column; undefined for data that are no table of two columns or more,
 * where there are too few rows to validate with, and where it would take too long.
 */
export async function measureImportance(options: ImportanceOptions): Promise<ImportancePlot | undefined> {
  const { data, config, modelPath, numParameters } = options;
  const columns = columnsOf(data);
  const valid = data.splits.validation.filter((row) => data.sampleWeights?.[row] !== 0);
  const most = Math.floor(MAX_WORK / (numParameters * columns.length));
  const numRows = Math.min(valid.length, MAX_ROWS, most);
  if (columns.length < 2 || numRows < MIN_ROWS) return undefined;
  // At a fixed stride: the split is in random order unless the user wants another.
  const rows = Uint32Array.from(
    { length: numRows },
    (_, i) => valid[Math.floor((i * valid.length) / numRows)]!,
  );
  const model = await loadModel(modelPath);
  const { measure, errorOf } = errorMeasure(options, rows);
  const samples = Float32Array.from(featuresOf(data.dataset, rows));
  const error = errorOf(model.outputs(samples));
  const increases: ImportancePlot['columns'][number][] = [];
  for (const [epoch, column] of columns.entries()) {
    const order = shuffledIndices(numRows, { seed: config.seed, purpose: 'order', epoch });
    const increase = errorOf(model.outputs(shuffled(samples, column, order))) - error;
    increases.push({ name: column.name, increase });
    // A lease is to be renewed meanwhile.
    await setImmediate();
  }
  return {
    kind: 'importance',
    columns: increases
      .filter(({ increase }) => Number.isFinite(increase))
      .sort((a, b) => b.increase - a.increase),
    measure,
    rows: numRows,
    allRows: data.splits.validation.length,
  };
}

/** The columns of a table; none for other data. */
function columnsOf({ transforms }: LoadedData): Column[] {
  let first = 0;
  return transforms.features.flatMap((feature) => {
    const width = featureWidth(feature);
    first += width;
    return 'column' in feature ? [{ name: feature.column, first: first - width, width }] : [];
  });
}

/** The samples, each with the column of another. */
function shuffled(samples: Float32Array, { first, width }: Column, order: Uint32Array): Float32Array {
  const result = samples.slice();
  const sampleWidth = samples.length / order.length;
  order.forEach((from, to) => {
    const start = from * sampleWidth + first;
    result.set(samples.subarray(start, start + width), to * sampleWidth + first);
  });
  return result;
}

/** A quantity that grows when predictions get worse, in words, and the function of outputs that gives it. */
interface ErrorMeasure {
  readonly measure: string;
  readonly errorOf: (outputs: Float32Array) => number;
}

function errorMeasure({ config, data, math }: ImportanceOptions, rows: Uint32Array): ErrorMeasure {
  const { targetNames, transforms } = data;
  const targets = targetView(data.dataset);
  const width = data.dataset.layout.targetWidth;
  const targetOf = (row: number, column: number): number => targets[rows[row]! * width + column]!;
  if (config.loss.kind === 'crossEntropy') {
    return {
      measure: 'log loss',
      errorOf: (outputs) => {
        const numClasses = outputs.length / rows.length;
        return meanOf(rows.length, (row) => {
          const logits = outputs.subarray(row * numClasses, (row + 1) * numClasses);
          return logSumOf(logits, math) - logits[targetOf(row, 0)]!;
        });
      },
    };
  }
  const numColumns = targetNames.length;
  if (config.loss.kind === 'binaryCrossEntropy') {
    return {
      measure: 'log loss',
      errorOf: (outputs) =>
        meanOf(outputs.length, (at) => {
          const target = targetOf(Math.floor(at / numColumns), at % numColumns);
          return logSumOf([0, outputs[at]!], math) - target * outputs[at]!;
        }),
    };
  }
  // One target in its own unit, several in those that they were trained on, which can be added up.
  const isOwnUnit = numColumns === 1;
  const unit = config.data.targetUnit === undefined ? '' : ` in ${config.data.targetUnit}`;
  return {
    measure: isOwnUnit ? `RMSE (${targetNames[0]}${unit})` : 'RMSE (as trained on)',
    errorOf: (outputs) =>
      Math.sqrt(
        meanOf(outputs.length, (at) => {
          const row = Math.floor(at / numColumns);
          const actual = isOwnUnit ? data.targetValues[0]![rows[row]!]! : targetOf(row, at % numColumns);
          const predicted = isOwnUnit ? inverseTarget(transforms, 0, outputs[at]!, math) : outputs[at]!;
          return (actual - predicted) * (actual - predicted);
        }),
      ),
  };
}

function meanOf(count: number, value: (index: number) => number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += value(i);
  return sum / count;
}

/** log of the sum of exponentials. */
function logSumOf(logits: ArrayLike<number>, math: HostMath): number {
  let most = -Infinity;
  for (let i = 0; i < logits.length; i++) most = Math.max(most, logits[i]!);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += math.exp(logits[i]! - most);
  return most + math.log(sum);
}
