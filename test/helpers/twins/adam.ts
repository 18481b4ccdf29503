// One Adam step on one parameter, in the order of operations that assembly/optimizer.ts promises.
import type { Arithmetic } from './arithmetic.ts';

export interface AdamConstants {
  readonly beta1: number;
  readonly oneMinusBeta1: number;
  readonly beta2: number;
  readonly oneMinusBeta2: number;
  readonly stepSize: number;
  readonly rootCorrection2: number;
  readonly epsilon: number;
}

export interface AdamState {
  readonly p: number;
  readonly m: number;
  readonly v: number;
}

export function adam(
  { round }: Arithmetic,
  gradientSum: number,
  count: number,
  { p, m, v }: AdamState,
  constants: AdamConstants,
): AdamState {
  const beta1 = round(constants.beta1);
  const beta2 = round(constants.beta2);
  const g = round(gradientSum / count);
  const m1 = round(round(beta1 * m) + round(round(constants.oneMinusBeta1) * g));
  const v1 = round(round(beta2 * v) + round(round(constants.oneMinusBeta2) * round(g * g)));
  const root = round(round(Math.sqrt(v1)) / round(constants.rootCorrection2));
  const denominator = round(root + round(constants.epsilon));
  return { p: round(p - round(round(constants.stepSize) * round(m1 / denominator))), m: m1, v: v1 };
}

/** The constants of step t (from 1), by the formulas of Kingma and Ba. */
export function adamConstants(
  t: number,
  {
    learningRate,
    beta1,
    beta2,
    epsilon,
  }: { learningRate: number; beta1: number; beta2: number; epsilon: number },
): AdamConstants {
  return {
    beta1,
    oneMinusBeta1: 1 - beta1,
    beta2,
    oneMinusBeta2: 1 - beta2,
    stepSize: learningRate / (1 - beta1 ** t),
    rootCorrection2: Math.sqrt(1 - beta2 ** t),
    epsilon,
  };
}
