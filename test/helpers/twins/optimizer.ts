// One step of each optimizer on one parameter, in the order of operations that assembly/optimizer/ promises.
import type { OptimizerConfig, SliceStep } from '../../../src/optimizer/registry.ts';
import type { Arithmetic } from './arithmetic.ts';

/** The inputs of a step besides gradient and state. */
export type StepSettings = Pick<
  SliceStep,
  'divisor' | 'scale' | 'limit' | 'learningRate' | 'weightDecay' | 'step'
>;

/** The parameter, then its value in each vector of state. */
export type ParameterState = readonly number[];

type Step<Kind extends OptimizerConfig['kind']> = (
  arithmetic: Arithmetic,
  config: Extract<OptimizerConfig, { kind: Kind }>,
  settings: StepSettings,
  gradient: number,
  state: ParameterState,
) => number[];

export function optimizerStep(
  arithmetic: Arithmetic,
  config: OptimizerConfig,
  settings: StepSettings,
  gradientSum: number,
  state: ParameterState,
): number[] {
  const g = clippedMean(arithmetic, settings, gradientSum);
  switch (config.kind) {
    case 'adam':
      return adam(arithmetic, config, settings, g, state);
    case 'adamW':
      return adam(arithmetic, config, settings, g, state);
    case 'sgd':
      return sgd(arithmetic, config, settings, g, state);
    case 'rmsprop':
      return rmsprop(arithmetic, config, settings, g, state);
    case 'lion':
      return lion(arithmetic, config, settings, g, state);
    default:
      return config satisfies never;
  }
}

function clippedMean({ round }: Arithmetic, { divisor, scale, limit }: StepSettings, sum: number): number {
  const mean = round(round(sum / round(divisor)) * round(scale));
  return Math.max(Math.min(mean, round(limit)), -round(limit));
}

/** round(a x) + round(b y), rounded. */
function mix({ round }: Arithmetic, a: number, x: number, b: number, y: number): number {
  return round(round(round(a) * x) + round(round(b) * y));
}

function withDecay({ round }: Arithmetic, g: number, decay: number, p: number): number {
  return round(g + round(round(decay) * p));
}

const adam: Step<'adam' | 'adamW'> = (arithmetic, config, settings, gradient, [p = 0, m = 0, v = 0]) => {
  const { round } = arithmetic;
  const { learningRate, weightDecay, step } = settings;
  const { kind, beta1, beta2 } = config;
  const g = withDecay(arithmetic, gradient, kind === 'adam' ? weightDecay : 0, p);
  const keep = round(kind === 'adamW' ? 1 - learningRate * weightDecay : 1);
  const m1 = mix(arithmetic, beta1, m, 1 - beta1, g);
  const v1 = mix(arithmetic, beta2, v, 1 - beta2, round(g * g));
  const root = round(round(Math.sqrt(v1)) / round(Math.sqrt(1 - beta2 ** step)));
  const move = round(
    round(learningRate / (1 - beta1 ** step)) * round(m1 / round(root + round(config.epsilon))),
  );
  return [round(round(keep * p) - move), m1, v1];
};

const sgd: Step<'sgd'> = (arithmetic, { momentum, nesterov }, settings, gradient, [p = 0, b = 0]) => {
  const { round } = arithmetic;
  const rate = round(settings.learningRate);
  const g = withDecay(arithmetic, gradient, settings.weightDecay, p);
  if (momentum === 0) return [round(p - round(rate * g))];
  const b1 = round(round(round(momentum) * b) + g);
  const direction = nesterov ? round(g + round(round(momentum) * b1)) : b1;
  return [round(p - round(rate * direction)), b1];
};

const rmsprop: Step<'rmsprop'> = (arithmetic, config, settings, gradient, [p = 0, v = 0, ...rest]) => {
  const { round } = arithmetic;
  const { alpha, centered, momentum } = config;
  const g = withDecay(arithmetic, gradient, settings.weightDecay, p);
  const v1 = mix(arithmetic, alpha, v, 1 - alpha, round(g * g));
  const next = [v1];
  let variance = v1;
  if (centered) {
    const a1 = mix(arithmetic, alpha, rest.shift() ?? 0, 1 - alpha, g);
    variance = Math.max(round(v1 - round(a1 * a1)), 0);
    next.push(a1);
  }
  let direction = round(g / round(round(Math.sqrt(variance)) + round(config.epsilon)));
  if (momentum > 0) {
    direction = round(round(round(momentum) * (rest.shift() ?? 0)) + direction);
    next.push(direction);
  }
  return [round(p - round(round(settings.learningRate) * direction)), ...next];
};

const lion: Step<'lion'> = (arithmetic, { beta1, beta2 }, settings, g, [p = 0, m = 0]) => {
  const { round } = arithmetic;
  const { learningRate, weightDecay } = settings;
  const c = mix(arithmetic, beta1, m, 1 - beta1, g);
  const move = c === 0 ? 0 : Math.sign(c) * round(learningRate);
  const kept = round(round(1 - learningRate * weightDecay) * p);
  return [round(kept - move), mix(arithmetic, beta2, m, 1 - beta2, g)];
};

/** x + share (sum / divisor - x). */
export function towardsMean(
  { round }: Arithmetic,
  x: number,
  sum: number,
  divisor: number,
  share: number,
): number {
  return round(x + round(round(share) * round(round(sum / round(divisor)) - x)));
}
