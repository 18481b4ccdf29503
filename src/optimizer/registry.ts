// Every kind of optimizer: its part of the config, with PyTorch's defaults, and the rule by which it moves
// parameters: which vectors of state it keeps, and the kernel that moves a slice. The formulas stand in
// assembly/optimizer/.
import { z } from 'zod';
import { integerPower } from '../kernels/host-math.ts';
import type { Memory } from '../memory.ts';

/** A share that a moving average over steps keeps. */
function average(defaultValue: number, text: string): z.ZodDefault<z.ZodNumber> {
  return z.number().min(0).lt(1).default(defaultValue).describe(text);
}

function learningRate(defaultValue: number): z.ZodDefault<z.ZodNumber> {
  return z.number().positive().default(defaultValue).describe('Size of a step, before any schedule');
}

const epsilon = z.number().positive().default(1e-8).describe('Added to the denominator');

/** Both fields of weight decay: how much, and what of. */
function weightDecay(
  defaultValue: number,
  text: string,
): {
  weightDecay: z.ZodDefault<z.ZodNumber>;
  decay: z.ZodDefault<z.ZodEnum<{ weights: 'weights'; all: 'all' }>>;
} {
  return {
    weightDecay: z.number().min(0).default(defaultValue).describe(text),
    decay: z
      .enum(['weights', 'all'])
      .default('weights')
      .describe('What decays: weights alone, or biases and the parameters of norms too'),
  };
}

const COUPLED = 'This share of each weight is added to its gradient (L2)';
const DECOUPLED = 'This share of each weight, times the learning rate, is taken off it';

const moments = {
  learningRate: learningRate(0.001),
  beta1: average(0.9, 'Decay of the mean of gradients'),
  beta2: average(0.999, 'Decay of the mean of squared gradients'),
  epsilon,
};

const adamSchema = z.strictObject({
  // Optional inside, so that an optimizer without a kind is found to be this one.
  kind: z.literal('adam').optional().default('adam'),
  ...moments,
  ...weightDecay(0, COUPLED),
});

const adamWSchema = z.strictObject({
  kind: z.literal('adamW'),
  ...moments,
  ...weightDecay(0.01, DECOUPLED),
});

const sgdSchema = z.strictObject({
  kind: z.literal('sgd'),
  learningRate: learningRate(0.01),
  momentum: average(0, 'Share of the last move that the next one keeps'),
  nesterov: z.boolean().default(false).describe('Looks ahead along the momentum, which must be above 0'),
  ...weightDecay(0, COUPLED),
});

const rmspropSchema = z.strictObject({
  kind: z.literal('rmsprop'),
  learningRate: learningRate(0.01),
  alpha: average(0.99, 'Decay of the mean of squared gradients'),
  epsilon,
  momentum: average(0, 'Share of the last move that the next one keeps'),
  centered: z.boolean().default(false).describe('Divides by the deviation of gradients, not their size'),
  ...weightDecay(0, COUPLED),
});

// The defaults are the paper's (Chen et al., 2023): PyTorch has no Lion.
const lionSchema = z.strictObject({
  kind: z.literal('lion'),
  learningRate: learningRate(0.0001),
  beta1: average(0.9, 'Weight of the mean of gradients against the newest one, for the direction'),
  beta2: average(0.99, 'Decay of the mean of gradients'),
  ...weightDecay(0, DECOUPLED),
});

/** The config's `optimizer`. */
export const optimizerSchema = z.discriminatedUnion('kind', [
  adamSchema,
  adamWSchema,
  sgdSchema,
  rmspropSchema,
  lionSchema,
]);

/** An optimizer as users write it: defaults may be left out. docs/config.md has the fields of each kind. */
export type OptimizerInput = Extract<z.input<typeof optimizerSchema>, object>;
/** A checked optimizer of a config. */
export type OptimizerConfig = z.output<typeof optimizerSchema>;

type ConfigOf<Kind extends OptimizerConfig['kind']> = Extract<OptimizerConfig, { kind: Kind }>;

/**
 * A slice of the flat vector at one step. All vectors are f32; the state is read from one
 * copy and written to another.
 */
export interface SliceStep {
  readonly length: number;
  /** Address of the sum of gradients. */
  readonly gradientSum: number;
  /** Number that the sum is divided by. */
  readonly divisor: number;
  /** Factor of the mean: below 1 where its norm is clipped. */
  readonly scale: number;
  /** The largest magnitude of an element after that; others are clipped to it. */
  readonly limit: number;
  /**
   * Addresses of the committed copy: of the parameters, then of the rule's vectors, 0 for
   * one that it does not keep.
   */
  readonly current: readonly number[];
  /** Addresses of the copy to write, in the same order. */
  readonly next: readonly number[];
  readonly learningRate: number;
  /** 0 for parameters that are exempt. */
  readonly weightDecay: number;
  /** Counts from 1. */
  readonly step: number;
}

/** One kind of optimizer with its settings. */
export interface UpdateRule {
  readonly kernel: 'adamStep' | 'sgdStep' | 'momentumStep' | 'rmspropStep' | 'lionStep';
  /**
   * Names of the kernel's vectors of state, each as long as the parameters; undefined for one that
   * these settings do not keep. All start as zeros.
   */
  readonly vectorNames: readonly (string | undefined)[];
  /** The kernel's own coefficients, in the order of its record. */
  coefficients(slice: Pick<SliceStep, 'learningRate' | 'weightDecay' | 'step'>): readonly number[];
}

/** The rule by which the optimizer of a config moves parameters. */
export function createRule(config: OptimizerConfig): UpdateRule {
  switch (config.kind) {
    case 'adam':
    case 'adamW':
      return adamRule(config);
    case 'sgd':
      return config.momentum === 0 ? sgdRule : momentumRule(config);
    case 'rmsprop':
      return rmspropRule(config);
    case 'lion':
      return lionRule(config);
    default:
      return config satisfies never;
  }
}

function adamRule({ kind, beta1, beta2, epsilon }: ConfigOf<'adam' | 'adamW'>): UpdateRule {
  return {
    kernel: 'adamStep',
    vectorNames: ['firstMoment', 'secondMoment'],
    coefficients: ({ learningRate, weightDecay, step }) => [
      kind === 'adam' ? weightDecay : 0,
      kind === 'adamW' ? 1 - learningRate * weightDecay : 1,
      beta1,
      1 - beta1,
      beta2,
      1 - beta2,
      learningRate / (1 - integerPower(beta1, step)),
      Math.sqrt(1 - integerPower(beta2, step)),
      epsilon,
    ],
  };
}

const sgdRule: UpdateRule = {
  kernel: 'sgdStep',
  vectorNames: [],
  coefficients: ({ weightDecay, learningRate }) => [weightDecay, learningRate],
};

function momentumRule({ momentum, nesterov }: ConfigOf<'sgd'>): UpdateRule {
  return {
    kernel: 'momentumStep',
    vectorNames: ['momentum'],
    coefficients: ({ weightDecay, learningRate }) => [weightDecay, learningRate, momentum, nesterov ? 1 : 0],
  };
}

function rmspropRule({ alpha, epsilon, momentum, centered }: ConfigOf<'rmsprop'>): UpdateRule {
  return {
    kernel: 'rmspropStep',
    vectorNames: ['meanSquare', centered ? 'mean' : undefined, momentum > 0 ? 'momentum' : undefined],
    coefficients: ({ weightDecay, learningRate }) => [
      weightDecay,
      learningRate,
      alpha,
      1 - alpha,
      epsilon,
      momentum,
    ],
  };
}

function lionRule({ beta1, beta2 }: ConfigOf<'lion'>): UpdateRule {
  return {
    kernel: 'lionStep',
    vectorNames: ['momentum'],
    coefficients: ({ weightDecay, learningRate }) => [
      1 - learningRate * weightDecay,
      learningRate,
      beta1,
      1 - beta1,
      beta2,
      1 - beta2,
    ],
  };
}

/** f32 of the longest record of a step. */
export const STEP_LENGTH = 22;

/** Writes the record of a step (assembly/optimizer/step.ts) for the rule's kernel. */
export function writeStep(memory: Memory, record: number, rule: UpdateRule, slice: SliceStep): void {
  const integers = memory.u32(record, STEP_LENGTH);
  const floats = memory.f32(record, STEP_LENGTH);
  integers.fill(0);
  integers.set([slice.length, slice.gradientSum]);
  floats.set([slice.divisor, slice.scale, slice.limit], 2);
  integers.set(slice.current, 5);
  integers.set(slice.next, 9);
  floats.set(rule.coefficients(slice), 13);
}
