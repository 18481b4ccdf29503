// Outputs of the last layer to predictions: values in the target's own unit, or classes and their
// probabilities, and those as CSV. Exponentials are the kernels' own, so a prediction has the
// same bits on every machine.
import { dataError } from '../errors.ts';
import { inverseTarget } from '../data/dataset/transforms.ts';
import type { FittedTransforms } from '../data/dataset/transforms.ts';
import type { HostMath } from '../kernels/host-math.ts';
import type { LossSpec } from '../losses/registry.ts';
import type { ModelDescription } from './model-files.ts';

/**
 * A row's values by target column, in the targets' own units; probabilities where the loss is of yes or
 * no.
 */
export interface ValuesPrediction {
  /** Tells it from a class. */
  readonly kind: 'values';
  /** Numbers by the names of target columns. */
  readonly values: Readonly<Record<string, number>>;
}

/** A row's likeliest class, the first of those that are equally likely. */
export interface ClassPrediction {
  /** Tells it from values. */
  readonly kind: 'class';
  /** The name of the class. */
  readonly class: string;
  /** Its place in `classNames`, from 0. */
  readonly index: number;
  /** Probabilities of all classes, in the order of `classNames`. */
  readonly probabilities: Float64Array;
}

/** The predictions for the positions of a sample, in their order. */
export interface PositionsPrediction {
  /** Tells them from the prediction for a whole sample. */
  readonly kind: 'positions';
  /** One for each position. */
  readonly positions: readonly (ValuesPrediction | ClassPrediction)[];
}

/** A model's prediction for one row; for a text, of the byte after it. */
export type Prediction = ValuesPrediction | ClassPrediction | PositionsPrediction;

/** The meaning of a model's outputs. */
export interface OutputMeaning {
  /** The number by which errors call the row, from 0. */
  readonly row: number;
  readonly loss: Pick<LossSpec, 'kind'>;
  readonly transforms: FittedTransforms;
  readonly math: HostMath;
}

/**
 * Reads one row of raw outputs. Of a text the last position counts.
 *
 * @throws LockstepError where they, or what follows from them, are not finite: that is no answer.
 */
export function readOutputs(outputs: Float32Array, { row, ...meaning }: OutputMeaning): Prediction {
  requireFinite(outputs, row, 'the outputs of the model');
  const { positions: numPositions } = meaning.transforms.target;
  const read = (values: Float32Array): ValuesPrediction | ClassPrediction => {
    const prediction = interpret(values, meaning);
    if (prediction.kind === 'values') requireFinite(Object.values(prediction.values), row, 'the predictions');
    return prediction;
  };
  if (numPositions === undefined) return read(outputs);
  const width = outputs.length / numPositions;
  const positions = Array.from({ length: numPositions }, (_, at) =>
    read(outputs.subarray(at * width, (at + 1) * width)),
  );
  return { kind: 'positions', positions };
}

/**
 * Refuses outputs that are not finite: unlike the figures of an evaluation, a prediction cannot show
 * them.
 */
function requireFinite(values: ArrayLike<number>, row: number, what: string): void {
  const wrong = Array.prototype.find.call(values, (value) => !Number.isFinite(value)) as number | undefined;
  if (wrong === undefined) return;
  throw dataError('E_DATA_OVERFLOW', `row ${row}: ${what} are not finite (${wrong})`, {
    help: 'leave the row out if its values are extreme; if all rows are affected, the weights are extreme: train with a smaller learning rate',
  });
}

function interpret(
  outputs: Float32Array,
  { loss, transforms, math }: Omit<OutputMeaning, 'row'>,
): ValuesPrediction | ClassPrediction {
  const { target } = transforms;
  const isBinary = loss.kind === 'binaryCrossEntropy';
  if (target.kind === 'labels') {
    const logits = outputs.subarray(outputs.length - (isBinary ? 1 : target.classNames.length));
    const yes = logits[0] as number;
    const probabilities = isBinary
      ? Float64Array.of(sigmoid(-yes, math), sigmoid(yes, math))
      : softmax(logits, math);
    const index = isBinary ? Number(yes > 0) : indexOfLargest(logits);
    return { kind: 'class', class: target.classNames[index] as string, index, probabilities };
  }
  const entries = target.columns.map(({ column }, at): [string, number] => {
    const output = outputs[at] as number;
    return [column, inverseTarget(transforms, at, isBinary ? sigmoid(output, math) : output, math)];
  });
  return { kind: 'values', values: Object.fromEntries(entries) };
}

function sigmoid(logit: number, math: HostMath): number {
  return 1 / (1 + math.exp(-logit));
}

/** exp(x - max) over its sum, in f64. */
function softmax(logits: Float32Array, math: HostMath): Float64Array {
  const largest = logits[indexOfLargest(logits)] as number;
  const powers = Float64Array.from(logits, (logit) => math.exp(logit - largest));
  let sum = 0;
  for (const power of powers) sum += power;
  return powers.map((power) => power / sum);
}

function indexOfLargest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i;
  return best;
}

/** Number of lines in a block. */
const LINES_PER_BLOCK = 1024;

/** The forms of printed predictions: a header and rows, or an object on each line. */
export type PrintFormat = 'csv' | 'jsonl';

/** The way to print predictions, and what to print before each. */
export interface PrintOptions {
  readonly format?: PrintFormat | undefined;
  /** Names of columns of the input, and their cells for each prediction. */
  readonly keptNames?: readonly string[] | undefined;
  readonly kept?: readonly (readonly (string | number)[])[] | undefined;
  /** True for predictions after the first block, which have no header. */
  readonly isContinued?: boolean | undefined;
}

/**
 * Blocks of lines: the values under the names of the targets, or `class` and the probability of each
 * class; in CSV, positions have a line each, with the number of the row and their own. Numbers are the shortest texts that read back as the same number. A column that has the name of
 * a kept one is called `predicted_` and that name.
 */
export function* formatPredictions(
  predictions: Iterable<Prediction>,
  { transforms }: Pick<ModelDescription, 'transforms'>,
  { format = 'csv', keptNames = [], kept = [], isContinued = false }: PrintOptions = {},
): Generator<string, void, undefined> {
  const { target } = transforms;
  const columns =
    target.kind === 'labels'
      ? ['class', ...target.classNames.map((name) => `probability_${name}`)]
      : target.columns.map(({ column }) => column);
  const firstNames = format === 'csv' && target.positions !== undefined ? ['row', 'position'] : keptNames;
  const taken = new Set(firstNames);
  const rename = (name: string): string => (taken.has(name) ? `predicted_${name}` : name);
  const hasHeader = format === 'csv' && !isContinued;
  let lines = hasHeader ? [formatLine([...firstNames, ...columns.map(rename)])] : [];
  let row = 0;
  for (const prediction of predictions) {
    const cells = kept[row] ?? [];
    if (format === 'jsonl')
      lines.push(formatObject(keptNames, cells, fieldsOf(prediction, transforms, rename)));
    else if (prediction.kind !== 'positions')
      lines.push(formatLine([...cells, ...cellsOf(prediction, columns)]));
    else
      for (const [position, own] of prediction.positions.entries())
        lines.push(formatLine([row, position, ...cellsOf(own, columns)]));
    row++;
    if (lines.length < LINES_PER_BLOCK) continue;
    yield lines.join('');
    lines = [];
  }
  yield lines.join('');
}

/** A prediction as an object of JSON. */
export function predictionObject(prediction: Prediction, transforms: FittedTransforms): object {
  return Object.fromEntries(fieldsOf(prediction, transforms, (name) => name));
}

/**
 * The fields of a prediction in an object: values by target, or `class` and `probabilities` by class; or
 * `positions`, a list of such objects.
 */
function fieldsOf(
  prediction: Prediction,
  transforms: FittedTransforms,
  rename: (name: string) => string,
): [string, unknown][] {
  const { target } = transforms;
  if (prediction.kind === 'positions') {
    return [['positions', prediction.positions.map((own) => predictionObject(own, transforms))]];
  }
  if (prediction.kind === 'values') {
    return Object.entries(prediction.values).map(([name, value]) => [rename(name), value]);
  }
  const names = target.kind === 'labels' ? target.classNames : [];
  const probabilities = names.map((name, index) => [name, prediction.probabilities[index]] as const);
  return [
    [rename('class'), prediction.class],
    [rename('probabilities'), Object.fromEntries(probabilities)],
  ];
}

function formatObject(
  keptNames: readonly string[],
  cells: readonly (string | number)[],
  fields: readonly [string, unknown][],
): string {
  const kept = keptNames.map((name, at) => [name, cells[at]] as const);
  return `${JSON.stringify(Object.fromEntries([...kept, ...fields]))}\n`;
}

/** The cells of a prediction, looked up by name: an object lists names that look like integers first. */
function cellsOf(
  prediction: ValuesPrediction | ClassPrediction,
  columns: readonly string[],
): (string | number)[] {
  if (prediction.kind === 'class') return [prediction.class, ...prediction.probabilities];
  return columns.map((name) => prediction.values[name] as number);
}

function formatLine(cells: readonly (string | number)[]): string {
  return `${cells.map((cell) => quoteCell(String(cell))).join(',')}\n`;
}

function quoteCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
