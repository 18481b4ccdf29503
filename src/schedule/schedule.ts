// The config's `schedule`, and the learning rate of each step that follows from it and from step counts:
// in float64, with additions, products and the kernels' cosine, exponential and logarithm, so that all
// machines take the same steps. Lengths in the config are in epochs.
import { z } from 'zod';
import type { HostMath } from '../kernels/host-math.ts';
import { integerPower, power } from '../kernels/host-math.ts';
import { isBetter, LOSS } from '../metrics/definitions.ts';

const warmupSchema = z
  .strictObject({
    steps: z.int().min(1).optional().describe('Its length in steps'),
    epochs: z.number().positive().optional().describe('Its length in epochs, rounded to whole steps'),
    from: z
      .number()
      .min(0)
      .max(1)
      .default(0.01)
      .describe('Share of the learning rate that the first step has'),
  })
  .optional()
  .describe('Raises the learning rate in a straight line, before the schedule begins; give steps or epochs');

const gammaSchema = z.number().positive().max(1).default(0.1);
const lowestSchema = z.number().min(0).default(0).describe('The learning rate that it falls to');

const constantSchema = z.strictObject({
  // Optional inside, so that a schedule without a kind is found to be this one.
  kind: z.literal('constant').optional().default('constant'),
  warmup: warmupSchema,
});

const stepSchema = z.strictObject({
  kind: z.literal('step'),
  every: z.int().min(1).optional().describe('Multiplies by gamma each time this many epochs have passed'),
  milestones: z
    .array(z.int().min(1))
    .min(1)
    .optional()
    .describe('Multiplies by gamma after each of these epochs; or give every'),
  gamma: gammaSchema.describe('What the learning rate is multiplied by'),
  warmup: warmupSchema,
});

const exponentialSchema = z.strictObject({
  kind: z.literal('exponential'),
  gamma: z
    .number()
    .positive()
    .max(1)
    .default(0.95)
    .describe('What the learning rate is multiplied by after each epoch'),
  warmup: warmupSchema,
});

const cosineSchema = z.strictObject({
  kind: z.literal('cosine'),
  period: z.int().min(1).optional().describe('Epochs until it restarts at the top; default: never'),
  multiplier: z.int().min(1).default(1).describe('How many times as long each further period is'),
  min: lowestSchema,
  warmup: warmupSchema,
});

const oneCycleSchema = z.strictObject({
  kind: z.literal('oneCycle'),
  pctStart: z
    .number()
    .gt(0)
    .lt(1)
    .default(0.3)
    .describe('Share of the steps in which the learning rate rises'),
  divFactor: z.number().min(1).default(25).describe('The first learning rate is the highest divided by this'),
  finalDivFactor: z.number().min(1).default(10_000).describe('The last one is the first divided by this'),
  anneal: z.enum(['cos', 'linear']).default('cos').describe('Shape of both phases'),
  warmup: warmupSchema,
});

const polynomialSchema = z.strictObject({
  kind: z.literal('polynomial'),
  power: z.number().positive().max(100).default(1).describe('Exponent of the share of steps that are left'),
  min: lowestSchema,
  warmup: warmupSchema,
});

const plateauSchema = z.strictObject({
  kind: z.literal('plateau'),
  factor: z.number().positive().lt(1).default(0.1).describe('What the learning rate is multiplied by'),
  patience: z
    .int()
    .min(0)
    .default(10)
    .describe('Epochs without a better validation loss before it reduces the learning rate'),
  threshold: z
    .number()
    .min(0)
    .lt(1)
    .default(1e-4)
    .describe('Share by which a loss must be lower to count as better'),
  cooldown: z.int().min(0).default(0).describe('Epochs after a reduction that do not count'),
  min: lowestSchema,
  warmup: warmupSchema,
});

/** One of the kinds, each with its own fields. */
export const scheduleSchema = z.discriminatedUnion('kind', [
  constantSchema,
  stepSchema,
  exponentialSchema,
  cosineSchema,
  oneCycleSchema,
  polynomialSchema,
  plateauSchema,
]);

/** A schedule as users write it: defaults may be left out. docs/config.md has the fields of each kind. */
export type ScheduleInput = Extract<z.input<typeof scheduleSchema>, object>;
/** A checked schedule of a config. */
export type ScheduleConfig = z.output<typeof scheduleSchema>;
/** The settings of one kind. */
export type ScheduleOf<Kind extends ScheduleConfig['kind']> = Extract<ScheduleConfig, { kind: Kind }>;

/** The length of a run. */
export interface RunLength {
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
}

/** Everything that a schedule is a function of, besides the step. */
export interface ScheduleOptions extends RunLength {
  readonly schedule: ScheduleConfig;
  /** The optimizer's, which schedules start from; the highest of `oneCycle`. */
  readonly learningRate: number;
  readonly math: HostMath;
}

/**
 * Learning rate of step `step` (from 0). The warm-up comes first; what follows begins, and counts
 * its steps and epochs, after it, as in PyTorch's SequentialLR. Of `plateau` it is the part that
 * does not depend on losses.
 */
export function learningRateAt(step: number, options: ScheduleOptions): number {
  const numWarmupSteps = warmupSteps(options.schedule, options);
  if (step < numWarmupSteps) {
    const from = options.schedule.warmup?.from ?? 0;
    return scheduledRate(0, numWarmupSteps, options) * (from + (1 - from) * (step / numWarmupSteps));
  }
  return scheduledRate(step - numWarmupSteps, numWarmupSteps, options);
}

/** True where a longer run has other learning rates from its first steps on. */
export function dependsOnLength(schedule: ScheduleConfig): boolean {
  if (schedule.kind === 'cosine') return schedule.period === undefined;
  return schedule.kind === 'oneCycle' || schedule.kind === 'polynomial';
}

/** Steps of the warm-up; 0 without one. */
function warmupSteps({ warmup }: ScheduleConfig, { stepsPerEpoch }: RunLength): number {
  if (!warmup) return 0;
  return warmup.steps ?? Math.max(1, Math.round((warmup.epochs ?? 0) * stepsPerEpoch));
}

function scheduledRate(step: number, numWarmupSteps: number, options: ScheduleOptions): number {
  const { schedule, learningRate, stepsPerEpoch, math } = options;
  const epoch = Math.floor(step / stepsPerEpoch);
  // A run that ends within the warm-up has no steps left, but the first of them is where the warm-up leads.
  const totalSteps = Math.max(1, options.totalSteps - numWarmupSteps);
  switch (schedule.kind) {
    case 'constant':
    case 'plateau':
      return learningRate;
    case 'step':
      return learningRate * integerPower(schedule.gamma, countDrops(schedule, epoch));
    case 'exponential':
      return learningRate * integerPower(schedule.gamma, epoch);
    case 'cosine':
      return cosineRate(schedule, { step, totalSteps, stepsPerEpoch, learningRate, math });
    case 'oneCycle':
      return oneCycleRate(schedule, { step, totalSteps, learningRate, math });
    case 'polynomial': {
      const { min } = schedule;
      const left = Math.max(0, totalSteps - step) / totalSteps;
      return min + (learningRate - min) * power(left, schedule.power, math);
    }
    default:
      return schedule satisfies never;
  }
}

/** Number of times that the rate has been multiplied by gamma. */
function countDrops({ every, milestones }: ScheduleOf<'step'>, epoch: number): number {
  if (every !== undefined) return Math.floor(epoch / every);
  return (milestones ?? []).filter((milestone) => milestone <= epoch).length;
}

interface Position {
  readonly step: number;
  readonly totalSteps: number;
  readonly learningRate: number;
  readonly math: HostMath;
}

/** Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017. */
function cosineRate(
  { period, multiplier, min }: ScheduleOf<'cosine'>,
  { step, totalSteps, stepsPerEpoch, learningRate, math }: Position & { readonly stepsPerEpoch: number },
): number {
  if (period === undefined) return annealCos(learningRate, min, Math.min(1, step / totalSteps), math);
  let length = period * stepsPerEpoch;
  let position = multiplier === 1 ? step % length : step;
  while (position >= length) {
    position -= length;
    length *= multiplier;
  }
  return annealCos(learningRate, min, position / length, math);
}

/**
 * Smith and Topin, "Super-convergence", 2018, as PyTorch's OneCycleLR computes it: up to the
 * highest rate at the end of the first phase, and down to the lowest at the last step.
 * Momentum is left as it is.
 */
function oneCycleRate(
  { pctStart, divFactor, finalDivFactor, anneal }: ScheduleOf<'oneCycle'>,
  { step, totalSteps, learningRate, math }: Position,
): number {
  const first = learningRate / divFactor;
  const last = first / finalDivFactor;
  const peak = pctStart * totalSteps - 1;
  const end = totalSteps - 1;
  const between = (from: number, to: number, share: number): number =>
    anneal === 'cos' ? annealCos(from, to, share, math) : from + (to - from) * share;
  if (step <= peak && peak > 0) return between(first, learningRate, step / peak);
  if (step >= end) return last;
  return between(learningRate, last, (step - peak) / (end - peak));
}

/** Goes from one value to another along half a cosine. */
function annealCos(from: number, to: number, share: number, math: HostMath): number {
  return to + ((from - to) / 2) * (1 + math.cos(Math.PI * share));
}

/** The state of a plateau between epochs. */
export interface PlateauState {
  /** Factor of the scheduled learning rate. */
  readonly factor: number;
  /** The least validation loss so far. */
  readonly best?: number | undefined;
  /** Epochs since the best one. */
  readonly numBad: number;
  /** Epochs to come that do not count. */
  readonly cooldown: number;
}

export const FIRST_PLATEAU: PlateauState = { factor: 1, numBad: 0, cooldown: 0 };

/**
 * The state after an epoch with this validation loss. `learningRate`, the
 * optimizer's, tells how far `min` is.
 */
export function plateauAfter(
  config: ScheduleOf<'plateau'>,
  learningRate: number,
  state: PlateauState,
  loss: number,
): PlateauState {
  const bar = state.best === undefined ? undefined : state.best * (1 - config.threshold);
  const isImproved = isBetter(LOSS.better, loss, bar);
  const best = isImproved ? loss : state.best;
  const isCooling = state.cooldown > 0;
  const cooldown = isCooling ? state.cooldown - 1 : 0;
  const numBad = isImproved || isCooling ? 0 : state.numBad + 1;
  if (numBad <= config.patience) return { factor: state.factor, best, numBad, cooldown };
  const lowest = Math.min(1, config.min / learningRate);
  const factor = Math.max(lowest, state.factor * config.factor);
  return { factor, best, numBad: 0, cooldown: config.cooldown };
}
