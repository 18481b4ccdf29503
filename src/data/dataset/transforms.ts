// Everything learnt from the training split that turns data into numbers, as plain JSON that is saved with
// the model, and the arithmetic that applies it to one value. Each kind of data fits and encodes its own.
import { dataError } from '../../errors.ts';
import type { SourceLocation } from '../../errors.ts';
import type { HostMath } from '../../kernels/host-math.ts';
import { sizeOf, type Shape } from '../../shape.ts';
import type { DateFormat, DatePart } from '../../dates.ts';

/** Describes how one column becomes one or more features. */
export type FittedFeature =
  | {
      readonly kind: 'numeric';
      readonly column: string;
      readonly mean: number;
      /** Divisor; 0 marks a constant column, which becomes 0. */
      readonly scale: number;
      /** Value for a missing cell; null where none is allowed. */
      readonly fill: number | null;
    }
  | {
      readonly kind: 'categorical';
      readonly column: string;
      /** Texts that get a feature each, which is 1 where the cell is that text; other texts give zeros. */
      readonly categories: readonly string[];
    }
  | {
      readonly kind: 'boolean';
      /** A column of texts such as true and false, or yes and no: 1 or 0. */
      readonly column: string;
      /** Value for a missing cell; null where none is allowed. */
      readonly fill: number | null;
    }
  | {
      readonly kind: 'ordinal';
      readonly column: string;
      /** Texts, which become their places, standardized. */
      readonly order: readonly string[];
      readonly mean: number;
      readonly scale: number;
      /** Place for a missing cell; null where none is allowed. */
      readonly fill: number | null;
    }
  | {
      readonly kind: 'hash';
      readonly column: string;
      /** Features, of which that of the text's hash is 1. */
      readonly buckets: number;
    }
  | {
      readonly kind: 'embedding';
      readonly column: string;
      /** Texts that have a learned vector each, by 1 + their place; id 0 is that of all others. */
      readonly texts: readonly string[];
      /** Numbers of a vector. */
      readonly units: number;
    }
  | {
      readonly kind: 'date';
      readonly column: string;
      readonly format: DateFormat;
      readonly parts: readonly (Standardization & { readonly part: DatePart })[];
      /** Milliseconds since 1970 for a missing cell; null where none is allowed. */
      readonly fill: number | null;
    }
  | {
      readonly kind: 'pixels';
      /** [height, width] or, of pictures in folders, [channels, height, width]. */
      readonly shape: readonly number[];
      readonly scale: number;
    }
  | {
      readonly kind: 'bytes';
      /** Number of bytes of a sample. */
      readonly context: number;
    }
  | {
      readonly kind: 'array';
      /** Shape of a sample. */
      readonly shape: Shape;
      /** Factor of bytes; null where samples are numbers. */
      readonly byteScale: number | null;
      /** Standardization of each value of a sample; null where values are taken as they are. */
      readonly standardized: readonly Standardization[] | null;
    };

/**
 * A mean and a scale: a value becomes (value - mean) / scale. Scale 0 marks a constant value, which
 * becomes 0.
 */
export interface Standardization {
  readonly mean: number;
  readonly scale: number;
}

/** A step of a target transform; a constant target is standardized with scale 0, to 0. */
export type TargetStep =
  { readonly kind: 'log' } | { readonly kind: 'standardize'; readonly mean: number; readonly scale: number };

/**
 * Describes how the target columns become values to fit, or class indices. Where samples have targets at
 * several `positions`, those of a column are fitted together.
 */
export type FittedTarget =
  | {
      readonly kind: 'values';
      readonly columns: readonly { readonly column: string; readonly steps: readonly TargetStep[] }[];
      /**
       * True if each number is a label, present (1) or absent (0), and not a probability: binaryCrossEntropy
       * only.
       */
      readonly isBinary?: true | undefined;
      /** Positions of a sample that have these columns each; undefined for the sample as a whole, and for texts. */
      readonly positions?: number | undefined;
    }
  | {
      readonly kind: 'labels';
      readonly column: string;
      /** `text`: a cell is a class name; `index`: it is the class index itself. */
      readonly cells: 'text' | 'index';
      readonly classNames: readonly string[];
      /** Positions of a sample that have a label each, as above. */
      readonly positions?: number | undefined;
    };

/** Everything needed to encode new rows as the training rows were, and to read predictions back. */
export interface FittedTransforms {
  readonly features: readonly FittedFeature[];
  readonly target: FittedTarget;
}

/** Number of values of a row, over all features. */
export function widthOf(features: readonly FittedFeature[]): number {
  return features.reduce((width, feature) => width + featureWidth(feature), 0);
}

export function featureWidth(feature: FittedFeature): number {
  switch (feature.kind) {
    case 'numeric':
    case 'boolean':
    case 'ordinal':
    case 'embedding':
      return 1;
    case 'categorical':
      return feature.categories.length;
    case 'hash':
      return feature.buckets;
    case 'date':
      return feature.parts.length;
    case 'pixels':
    case 'array':
      return sizeOf(feature.shape);
    case 'bytes':
      return feature.context;
  }
}

/** A name for every number of a row: `rooms`, `wall=brick`, `street#7`, `sold.year`, `pixel[3,17]`, `byte[0]`, `value[2]`. */
export function nameFeatures(features: readonly FittedFeature[]): string[] {
  return features.flatMap((feature) => {
    switch (feature.kind) {
      case 'numeric':
      case 'boolean':
      case 'ordinal':
      case 'embedding':
        return [feature.column];
      case 'hash':
        return Array.from({ length: feature.buckets }, (_, bucket) => `${feature.column}#${bucket}`);
      case 'date':
        return feature.parts.map(({ part }) => `${feature.column}.${part}`);
      case 'categorical':
        return feature.categories.map((category) => `${feature.column}=${category}`);
      case 'pixels':
        return Array.from(
          { length: featureWidth(feature) },
          (_, at) => `pixel${nameIndex(feature.shape, at)}`,
        );
      case 'bytes':
        return Array.from({ length: feature.context }, (_, at) => `byte[${at}]`);
      case 'array':
        return Array.from(
          { length: featureWidth(feature) },
          (_, at) => `value${nameIndex(feature.shape, at)}`,
        );
    }
  });
}

/** `[3,17]`: the place of a value in its sample. */
export function nameIndex(shape: readonly number[], at: number): string {
  let rest = at;
  const indices = shape.toReversed().map((side) => {
    const index = rest % side;
    rest = Math.floor(rest / side);
    return index;
  });
  return `[${indices.toReversed().join(',')}]`;
}

/** Applies a step of a target transform, in float64. */
export function applyStep(step: TargetStep, value: number, math: HostMath): number {
  return step.kind === 'log' ? math.log(value) : standardize(value, step);
}

/** Returns (value - mean) / scale, and 0 where the scale is 0. */
export function standardize(value: number, { mean, scale }: Standardization): number {
  return scale === 0 ? 0 : (value - mean) / scale;
}

/** Turns a prediction of target `column` (by index) back into the target's own unit, in float64. */
export function inverseTarget(
  fitted: FittedTransforms,
  column: number,
  value: number,
  math: HostMath,
): number {
  if (fitted.target.kind === 'labels') return value;
  const steps = fitted.target.columns[column]?.steps ?? [];
  return steps.reduceRight(
    (inverted, step) => (step.kind === 'log' ? math.exp(inverted) : inverted * step.scale + step.mean),
    value,
  );
}

/** Share of a value that some hundred roundings cannot exceed: float64 holds 53 bits. */
const ROUNDING = 2 ** -44;
/** The same share for float32, whose 24 bits leave less room between rounding and meaning. */
const ROUNDING_OF_FLOAT32 = 2 ** -22;

/**
 * Mean and population deviation, summed in the order given. Values that differ by no more than the
 * rounding of the largest count as one value: its mean, and exactly 0. Held-out values would else be
 * divided by noise.
 */
export function describeValues(values: Float64Array, areFloat32 = false): Standardization {
  const first = values[0] as number;
  let [least, most, sum] = [first, first, 0];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
    sum += value;
  }
  if (least === most) return { mean: first, scale: 0 };
  const mean = sum / values.length;
  const rounding = areFloat32 ? ROUNDING_OF_FLOAT32 : ROUNDING;
  if (most - least <= rounding * Math.max(Math.abs(least), Math.abs(most))) return { mean, scale: 0 };
  let squares = 0;
  for (const value of values) squares += (value - mean) * (value - mean);
  return { mean, scale: Math.sqrt(squares / values.length) };
}

/** The error for a held-out value that is too many deviations from the mean for float32. */
export function tooFar(found: string, { mean, scale }: Standardization, location?: SourceLocation): Error {
  const range = `the training rows have mean ${mean}, deviation ${scale}`;
  const message = `${found}; standardized it does not fit float32 (max 3.4e38): ${range}`;
  return dataError('E_DATA_OVERFLOW', message, { location, help: 'correct the value, or leave its row out' });
}

/** Compares texts in an order that is the same in every locale. */
export function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
