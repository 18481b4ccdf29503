// Scaled dot-product attention of one head over one sample, made from the twins of products and softmax.
// Letters: T positions, H values of a head.
import type { Arithmetic, Values } from './arithmetic.ts';
import { multiply, transpose } from './matrix.ts';
import { softmax, softmaxBackward } from './normalization.ts';

/** Sizes of q, k and v: [T, H]. */
export interface HeadSizes {
  readonly positions: number;
  readonly headSize: number;
  readonly isCausal: boolean;
}

export interface Head {
  readonly q: Values;
  readonly k: Values;
  readonly v: Values;
}

function scaleOf({ round }: Arithmetic, headSize: number): number {
  return round(1 / round(Math.sqrt(headSize)));
}

/** Applies `f` to the part of each row of x[T, T] that the position sees; the rest is 0. */
function eachRow(
  { positions, isCausal }: HeadSizes,
  x: Values,
  f: (row: Values, start: number) => Values,
): Values {
  const result = x.slice().fill(0);
  for (let i = 0; i < positions; i++) {
    const length = isCausal ? i + 1 : positions;
    result.set(f(x.slice(i * positions, i * positions + length), i * positions), i * positions);
  }
  return result;
}

/** P[T, T]. */
export function attentionProbabilities(arithmetic: Arithmetic, { q, k }: Head, sizes: HeadSizes): Values {
  const { positions, headSize } = sizes;
  const b = transpose(k, positions, headSize);
  const scores = multiply(arithmetic, { m: positions, n: positions, k: headSize, a: q, b });
  return eachRow(sizes, scores, (row) => softmax(arithmetic, row, scaleOf(arithmetic, headSize)));
}

/** P v. */
export function attentionOutput(
  arithmetic: Arithmetic,
  probabilities: Values,
  v: Values,
  { positions, headSize }: HeadSizes,
): Values {
  return multiply(arithmetic, { m: positions, n: headSize, k: positions, a: probabilities, b: v });
}

/** Gradients of q, k and v. */
export function attentionBackward(
  arithmetic: Arithmetic,
  { q, k, v }: Head,
  dOut: Values,
  sizes: HeadSizes,
): Head {
  const { positions: t, headSize: h } = sizes;
  const probabilities = attentionProbabilities(arithmetic, { q, k, v }, sizes);
  const dV = multiply(arithmetic, { m: t, n: h, k: t, a: transpose(probabilities, t, t), b: dOut });
  const dProbabilities = multiply(arithmetic, { m: t, n: t, k: h, a: dOut, b: transpose(v, t, h) });
  const dScores = eachRow(sizes, dProbabilities, (row, start) =>
    softmaxBackward(arithmetic, row, probabilities.slice(start, start + row.length), scaleOf(arithmetic, h)),
  );
  const dQ = multiply(arithmetic, { m: t, n: h, k: t, a: dScores, b: k });
  const dK = multiply(arithmetic, { m: t, n: h, k: t, a: transpose(dScores, t, t), b: q });
  return { q: dQ, k: dK, v: dV };
}
