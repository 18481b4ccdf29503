// The learning rate of each step, as a function of the config and of step counts: in float64, with additions,
// products and the kernels' cosine, exponential and logarithm, so that all machines take the same steps.
import type { HostMath } from '../kernels/host-math.ts';
import { integerPower, power } from '../kernels/host-math.ts';
import { isBetter, LOSS } from '../metrics/definitions.ts';
import type { ScheduleConfig, ScheduleOf } from './schema.ts';

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
 * Learning rate of step `step` (from 0). The warm-up comes first; what follows begins, and counts its steps and
 * epochs, after it, as in PyTorch's SequentialLR. Of `plateau` it is the part that does not depend on losses.
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
 * Smith and Topin, "Super-convergence", 2018, as PyTorch's OneCycleLR computes it: up to the highest rate at the
 * end of the first phase, and down to the lowest at the last step. Momentum is left as it is.
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

/** The state after an epoch with this validation loss. `learningRate`, the optimizer's, tells how far `min` is. */
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
