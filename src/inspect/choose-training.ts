// How to train on data of a kind and size: the task, the model, the optimizer, the batches. The figures
// were found by trying.
import { MAX_CLASSES } from '../data/dataset/class-labels.ts';
import { configError, quoteName } from '../errors.ts';
import type { LayerInput } from '../layers/registry.ts';
import { countOf, formatCount } from '../printable.ts';
import type { Shape } from '../shape.ts';
import type { ColumnFacts } from './column-facts.ts';

/** The kind of target that a model predicts. */
export type Task =
  | {
      readonly kind: 'classes';
      /** Outputs of the model: where labels are numbers, one more than the highest. */
      readonly numClasses: number;
      readonly why: string;
      /** True if numbers of the target could be meant as well. */
      readonly isUnclear: boolean;
    }
  | {
      readonly kind: 'numbers';
      readonly transform: readonly ('log' | 'standardize')[];
      readonly why: string;
      readonly isUnclear: boolean;
    };

/** Whole numbers of more kinds than this are amounts. */
const MAX_NUMBERED_CLASSES = 20;
/** Rows that a class must have on average, or the numbers are amounts. */
const MIN_ROWS_OF_CLASS = 5;
/** The most outputs for classes that are numbers, if they are asked for. */
const MAX_ASKED_CLASSES = 1000;
/** Share of the rows from which distinct texts are names, not classes. */
const NAME_SHARE = 0.5;
/** Skewness from which the logarithm of a target is tried. */
const SKEWED = 1;

/**
 * Finds out what a target is; `wanted` is what the user says that it is.
 *
 * @throws LockstepError for a column that cannot be predicted
 */
export function chooseTask(target: ColumnFacts, wanted?: Task['kind']): Task {
  const { column, kind, name, numDistinct, numMissing, numRows } = target;
  const refuse = (why: string, help: string): Error =>
    configError('E_CONFIG_TARGET', `target ${quoteName(name)} ${why}`, help);
  const other = 'name another column with --target';
  if (kind === 'empty') throw refuse('has no values', other);
  if (numDistinct < 2)
    throw refuse(`has one value (${target.counts[0]?.value ?? ''}): there is nothing to learn`, other);
  if (kind === 'date')
    throw refuse('holds dates, which are not predicted', 'write them as numbers, such as days');
  if (column.kind !== 'text') return chooseForNumbers(target, wanted);
  if (wanted === 'numbers') throw refuse('holds texts, not numbers', 'leave out --task numbers');
  if (numDistinct > MAX_CLASSES || (numDistinct > 10 && numDistinct > NAME_SHARE * (numRows - numMissing)))
    throw refuse(
      `has ${formatCount(numDistinct)} distinct texts in ${countOf(numRows, 'row')}: names, not classes`,
      other,
    );
  return {
    kind: 'classes',
    numClasses: numDistinct,
    why: `${countOf(numDistinct, 'distinct text')}`,
    isUnclear: false,
  };
}

function chooseForNumbers(target: ColumnFacts, wanted: Task['kind'] | undefined): Task {
  const { name, numDistinct, numRows, numbers } = target;
  const { least = 0, most = 0, areWhole = false } = numbers ?? {};
  const mayBeClasses = areWhole && least >= 0 && most < MAX_ASKED_CLASSES;
  if (wanted === 'classes' && !mayBeClasses) {
    const found = areWhole ? `whole numbers from ${least} to ${most}` : 'fractions';
    const message = `target ${quoteName(name)} holds ${found}; classes are numbered from 0, to ${MAX_ASKED_CLASSES - 1} at most`;
    throw configError('E_CONFIG_TARGET', message, 'give the classes names, or leave out --task classes');
  }
  const isConsecutive = mayBeClasses && least <= 1 && numDistinct === most - least + 1;
  const looksLikeClasses =
    isConsecutive && numDistinct <= MAX_NUMBERED_CLASSES && numDistinct * MIN_ROWS_OF_CLASS <= numRows;
  const isPlain = looksLikeClasses && numDistinct === 2;
  const isUnclear = wanted === undefined && mayBeClasses && numDistinct <= MAX_NUMBERED_CLASSES && !isPlain;
  if (wanted === 'classes' || (wanted === undefined && looksLikeClasses)) {
    const why = `whole numbers from ${least} to ${most}`;
    return { kind: 'classes', numClasses: most + 1, why, isUnclear };
  }
  return { kind: 'numbers', ...chooseTransform(target), isUnclear };
}

/**
 * Takes the logarithm of a target with a long tail, unless that gives it a tail on the other side: the
 * product of two opposite quantiles is then far below the square of the median.
 */
function chooseTransform({ numbers }: ColumnFacts): { transform: ('log' | 'standardize')[]; why: string } {
  const { high = 0, least = 0, low = 0, median = 0, skewness = 0 } = numbers ?? {};
  const isLogarithmic = least > 0 && skewness > SKEWED && low * high > median * median * 0.2;
  if (!isLogarithmic) return { transform: ['standardize'], why: 'numbers' };
  return { transform: ['log', 'standardize'], why: `numbers above 0, skewed (${skewness.toFixed(1)})` };
}

/** Settings of a training. */
export interface Training {
  readonly layers: readonly LayerInput[];
  readonly optimizer: {
    readonly kind: 'adam' | 'adamW';
    readonly learningRate: number;
    readonly weightDecay?: number;
  };
  readonly batchSize: number;
  readonly shards: number;
  readonly epochs: number;
  readonly patience: number;
  readonly split: { readonly validation: number; readonly test: number };
  /** The figures that the model was sized by. */
  readonly why: string;
}

/** The size of a task. */
export interface TaskSize {
  readonly numRows: number;
  /** False where a test set has files of its own. */
  readonly needsTest: boolean;
  readonly needsValidation: boolean;
  readonly outputs: number;
}

/** Splits of a small table are larger, or their metrics would be chance. */
const SMALL = 1000;

function splitFor({ numRows, needsTest, needsValidation }: TaskSize): Training['split'] {
  const share = numRows < SMALL ? 0.2 : 0.1;
  return { validation: needsValidation ? share : 0, test: needsTest ? share : 0 };
}

function trainingRows(size: TaskSize): number {
  const { validation, test } = splitFor(size);
  return Math.max(1, Math.floor(size.numRows * (1 - validation - test)) - 1);
}

/** A power of two that gives an epoch some 25 steps, within limits. */
function batchFor(numRows: number, largest: number): number {
  let batch = 8;
  while (batch < largest && batch * 2 * STEPS_OF_EPOCH <= numRows) batch *= 2;
  return Math.min(batch, numRows);
}

const STEPS_OF_EPOCH = 25;

/** Shards of a batch: 8, or so many that each has 4 samples. */
function shardsFor(batchSize: number): number {
  return Math.max(1, Math.min(8, Math.floor(batchSize / 4)));
}

/** Steps of a whole training of a table: enough for any, few enough for a minute. */
const MAX_TABLE_STEPS = 12_000;

/** A network of dense layers for rows of numbers. */
export function chooseForRows(size: TaskSize, inputs: number): Training {
  const numRows = trainingRows(size);
  const batchSize = batchFor(numRows, numRows > 200_000 ? 1024 : 256);
  const units = numRows < 300 ? 32 : numRows < 50_000 && inputs < 50 ? 64 : 128;
  const isWide = inputs * 10 > numRows;
  const layers: LayerInput[] = [
    { kind: 'dense', units, activation: 'relu' },
    ...(isWide ? [{ kind: 'dropout' as const, rate: 0.2 }] : []),
    { kind: 'dense', units: numRows < 300 ? units / 2 : units, activation: 'relu' },
    { kind: 'dense', units: size.outputs },
  ];
  const steps = Math.ceil(numRows / batchSize);
  const epochs = Math.max(10, Math.min(200, Math.round(MAX_TABLE_STEPS / steps)));
  return {
    layers,
    optimizer: {
      kind: 'adamW',
      learningRate: numRows < 2000 ? 0.002 : 0.004,
      weightDecay: isWide ? 0.1 : 0.01,
    },
    batchSize,
    shards: shardsFor(batchSize),
    epochs,
    patience: Math.max(5, Math.round(epochs / 8)),
    split: splitFor(size),
    why: `${countOf(numRows, 'training row')}, ${countOf(inputs, 'input')}`,
  };
}

/** Multiplications of a whole training with pictures: about a minute on two cores. */
const IMAGE_WORK = 2e11;

/** A network of convolutions for images of [channels, height, width]. */
export function chooseForImages(size: TaskSize, shape: Shape): Training {
  const numRows = trainingRows(size);
  const batchSize = batchFor(numRows, 128);
  const { layers, work } = convolutions(shape, size.outputs);
  return {
    layers,
    optimizer: { kind: 'adam', learningRate: 0.001 },
    batchSize,
    shards: shardsFor(batchSize),
    ...epochsFor(IMAGE_WORK / (3 * work * numRows)),
    split: splitFor(size),
    why: `${countOf(numRows, 'training image')} of ${shape.join('x')}`,
  };
}

/** Epochs for which there is time, within reason, and how many of them may bring nothing. */
function epochsFor(affordable: number): Pick<Training, 'epochs' | 'patience'> {
  const epochs = Math.max(5, Math.min(60, Math.round(affordable)));
  return { epochs, patience: Math.max(3, Math.round(epochs / 6)) };
}

/** Convolutions that halve the sides until they are small, and the multiplications of a sample. */
function convolutions(
  [channels = 1, height = 1, width = 1]: Shape,
  outputs: number,
): { layers: LayerInput[]; work: number } {
  const layers: LayerInput[] = [];
  let [inputs, filters, rows, columns, work] = [channels, 16, height, width, 0];
  while (Math.min(rows, columns) >= 4 && layers.length < 8) {
    layers.push({ kind: 'conv2d', filters, kernelSize: 3, padding: 'same', activation: 'relu' });
    layers.push({ kind: 'maxPool2d', size: 2 });
    work += rows * columns * filters * inputs * 9;
    [rows, columns] = [Math.floor(rows / 2), Math.floor(columns / 2)];
    [inputs, filters] = [filters, Math.min(64, filters * 2)];
    if (Math.min(rows, columns) <= 7 && layers.length >= 4) break;
  }
  const units = 64;
  layers.push({ kind: 'flatten' }, { kind: 'dropout', rate: 0.25 });
  layers.push({ kind: 'dense', units, activation: 'relu' }, { kind: 'dense', units: outputs });
  return { layers, work: work + inputs * rows * columns * units + units * outputs };
}

/** More positions than this are not compared with one another. */
const MAX_ATTENDED = 512;

/**
 * A network that keeps the positions of a sequence: recurrent, and then each position sees the others, also
 * those after it.
 */
export function chooseForPositions(size: TaskSize, shape: Shape, vocabulary?: number): Training {
  const numRows = trainingRows(size);
  const batchSize = batchFor(numRows, 32);
  const [positions = 1, inputs = 1] = shape;
  const units = 48;
  const layers: LayerInput[] = [];
  if (vocabulary !== undefined) layers.push({ kind: 'embedding', vocabulary, units });
  else if (shape.length === 1) layers.push({ kind: 'reshape', shape: [positions, 1] });
  layers.push({ kind: 'lstm', units, returnSequences: true });
  if (positions <= MAX_ATTENDED) {
    const attention = { kind: 'attention', heads: 4 } as const;
    layers.push({ kind: 'residual', layers: [{ kind: 'layerNorm' }, attention] });
  }
  layers.push({ kind: 'dense', units: size.outputs });
  const seen = vocabulary === undefined ? inputs : units;
  const work = positions * units * (4 * (seen + units) + 4 * units + 2 * Math.min(positions, MAX_ATTENDED));
  return {
    layers,
    optimizer: { kind: 'adam', learningRate: 0.004 },
    batchSize,
    shards: shardsFor(batchSize),
    ...epochsFor(SEQUENCE_WORK / (3 * work * numRows)),
    split: splitFor(size),
    why: `${countOf(numRows, 'training sample')} of ${countOf(positions, 'position')}`,
  };
}

/** Multiplications of a whole training with sequences, whose steps are smaller than those of pictures. */
const SEQUENCE_WORK = 1e11;

/** Bytes of a sample of a text, and units of its model. */
const CONTEXT = 64;
const MAX_TEXT_STEPS = 1500;

/** A recurrent network for the bytes of a text. */
export function chooseForText(numBytes: number): Training & { readonly context: number } {
  const context = numBytes < 100 * CONTEXT ? 16 : CONTEXT;
  const validation = numBytes < 100_000 ? 0.1 : 0.05;
  const windows = Math.floor((numBytes * (1 - 2 * validation)) / context) - 2;
  const batchSize = Math.max(1, Math.min(16, windows));
  const epochs = Math.max(1, Math.min(30, Math.floor((MAX_TEXT_STEPS * batchSize) / Math.max(1, windows))));
  return {
    context,
    layers: [
      { kind: 'embedding', vocabulary: 256, units: 48 },
      { kind: 'lstm', units: 128, returnSequences: true },
      { kind: 'dense', units: 256 },
    ],
    optimizer: { kind: 'adam', learningRate: 0.004 },
    batchSize,
    shards: shardsFor(batchSize),
    epochs,
    patience: 3,
    split: { validation, test: validation },
    why: `${countOf(windows, 'window')} of ${context} bytes`,
  };
}
