// What `lockstep tune` varies: keys of the config and their values, from flags such as
// `optimizer.learningRate=log:1e-4..0.1`, `model.layers.0.units=16..256` and `batchSize=[32, 64, 128]`.
import { LockstepError } from '../errors.ts';
import type { HostMath } from '../kernels/host-math.ts';
import { MAX_TRIALS } from '../limits.ts';
import { philox4x32, PURPOSE } from '../random.ts';
import { parseYaml } from './yaml.ts';

/** A key of the config, and the values that it may have. */
export type Dimension = { readonly key: string } & (
  | { readonly kind: 'choice'; readonly values: readonly unknown[] }
  | {
      readonly kind: 'range';
      readonly low: number;
      readonly high: number;
      readonly isLog: boolean;
      readonly isWhole: boolean;
    }
);

/** Values by their keys. */
export type Point = Readonly<Record<string, unknown>>;

/** Digits of a drawn number: enough to try, and to read. */
const NUM_DIGITS = 3;
const TWO_32 = 2 ** 32;

/** Reads the flags. @throws LockstepError (exit 2) for one that is no key with values */
export function readDimensions(flags: readonly string[]): Dimension[] {
  const dimensions = flags.map(readDimension);
  const seen = new Set<string>();
  for (const { key } of dimensions) {
    if (seen.has(key)) throw refuse(`--vary ${key} is given twice`, 'name all of its values at once');
    seen.add(key);
  }
  return dimensions;
}

function readDimension(flag: string): Dimension {
  const at = flag.indexOf('=');
  const [key, text] = [flag.slice(0, at).trim(), flag.slice(at + 1).trim()];
  if (at < 1 || text === '') throw refuse(`--vary ${flag}: expected KEY=VALUES`, FORMS);
  const range = /^(log:)?([^\s.]+(?:\.\d+)?(?:e[+-]?\d+)?)\.\.(\S+)$/i.exec(text);
  return range ? readRange(key, flag, range) : { key, kind: 'choice', values: readChoices(flag, text) };
}

const FORMS = 'write values as a list, [16, 32, 64], or as a range, 0.1..0.5, log:0.0001..0.1';

function readRange(key: string, flag: string, [, log, from = '', to = '']: RegExpExecArray): Dimension {
  const [low, high] = [Number(from), Number(to)];
  const isLog = log !== undefined;
  if (!(Number.isFinite(low) && Number.isFinite(high) && low < high))
    throw refuse(`--vary ${flag}: ${from}..${to} is no range from a number to a greater one`, FORMS);
  if (isLog && low <= 0) throw refuse(`--vary ${flag}: a logarithmic range starts above 0`, FORMS);
  const isWhole = [from, to].every((end) => /^[+-]?\d+$/.test(end));
  return { key, kind: 'range', low, high, isLog, isWhole };
}

function readChoices(flag: string, text: string): unknown[] {
  const { value } = parseYaml(text);
  if (Array.isArray(value) && value.length > 0) return value;
  throw refuse(`--vary ${flag}: ${text} is neither a list nor a range`, FORMS);
}

/** The point of a trial, from 1: a function of seed and number alone, with the same bits everywhere. */
export function drawPoint(
  dimensions: readonly Dimension[],
  { seed, trial, math }: { readonly seed: number; readonly trial: number; readonly math: HostMath },
): Point {
  const words = new Uint32Array(4);
  return Object.fromEntries(
    dimensions.map((dimension, index) => {
      philox4x32([trial, index, 0, 0], [seed, PURPOSE.tune], words);
      return [dimension.key, valueAt(dimension, (words[0] as number) / TWO_32, math)];
    }),
  );
}

/** The value at a place from 0 to 1, 1 excluded. */
function valueAt(dimension: Dimension, place: number, math: HostMath): unknown {
  if (dimension.kind === 'choice') return dimension.values[Math.floor(place * dimension.values.length)];
  const { low, high, isLog, isWhole } = dimension;
  // Of whole numbers each has a stretch of its own, the ends too.
  const [from, to] = isWhole ? [low - 0.5, high + 0.5] : [low, high];
  const value = isLog
    ? math.exp(math.log(from) + place * (math.log(to) - math.log(from)))
    : from + place * (to - from);
  const rounded = isWhole ? Math.round(value) : Number(value.toPrecision(NUM_DIGITS));
  return Math.min(high, Math.max(low, rounded));
}

/**
 * All combinations, the last key fastest.
 * @throws LockstepError (exit 2) for a range, or too many
 */
export function gridPoints(dimensions: readonly Dimension[]): Point[] {
  let points: Point[] = [{}];
  for (const dimension of dimensions) {
    if (dimension.kind === 'range')
      throw refuse(
        `--vary ${dimension.key} is a range, and a grid takes lists`,
        'list its values, or search at random',
      );
    points = points.flatMap((point) =>
      dimension.values.map((value) => ({ ...point, [dimension.key]: value })),
    );
    if (points.length > MAX_TRIALS)
      throw refuse(`the grid has more than ${MAX_TRIALS} points`, 'list fewer values, or search at random');
  }
  return points;
}

/** `--set` flags for a point. */
export function overridesOf(point: Point): string[] {
  return Object.entries(point).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
}

function refuse(message: string, help: string): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_TUNE_VALUES', message, help });
}
