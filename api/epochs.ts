// The order of samples in an epoch, and the learning rates of a `schedule`, for a loop of a program's own.
import { z } from 'zod';
import { checkModelRules } from '../src/config/rules.ts';
import type { Config } from '../src/config/schema.ts';
import { checkOptions } from '../src/config/options.ts';
import { checkConfig } from '../src/config/validate.ts';
import { epochOrder as orderOf, range } from '../src/data/dataset/split.ts';
import type { HostMath } from '../src/kernels/host-math.ts';
import { MAX_EPOCHS } from '../src/limits.ts';
import {
  FIRST_PLATEAU,
  learningRateAt,
  plateauAfter,
  type PlateauState,
  type RunLength,
  type ScheduleConfig,
  type ScheduleInput,
} from '../src/schedule/schedule.ts';

const uint32 = z.int().min(0).max(4_294_967_295);

const orderSchema = z.strictObject({
  samples: z
    .union([uint32, z.instanceof(Uint32Array)])
    .describe('a number of samples, or a Uint32Array of rows'),
  seed: uint32.describe('a whole number from 0 to 4294967295'),
  epoch: z.int().min(0).max(MAX_EPOCHS).describe('a whole number of at least 0'),
});

/**
 * The samples of an epoch in the order in which `train` visits them: a draw from seed and epoch.
 * @param samples their number, or those rows of your data that are trained on
 * @param options the seed of the engine, and the epoch, from 0
 * @returns row numbers; batch k is `order.subarray(k * batchSize, (k + 1) * batchSize)`
 */
export function epochOrder(
  samples: number | Uint32Array,
  options: { readonly seed: number; readonly epoch: number },
): Uint32Array {
  checkOptions(orderSchema, { samples, ...options }, 'arguments of epochOrder');
  const rows = typeof samples === 'number' ? range(0, samples) : samples;
  return orderOf(rows, { ...options, shuffle: true });
}

/** The length of a training, from which a schedule follows. */
export interface ScheduleLength {
  /** Steps of an epoch. */
  readonly stepsPerEpoch: number;
  /** Epochs in all. */
  readonly epochs: number;
}

const lengthSchema = z.strictObject({
  stepsPerEpoch: z.int().min(1).describe('a whole number of at least 1'),
  epochs: z.int().min(1).max(MAX_EPOCHS).describe(`a whole number from 1 to ${MAX_EPOCHS}`),
} satisfies Record<keyof ScheduleLength, z.ZodType>);

const stepSchema = z.strictObject({
  step: z.int().min(0).describe('a whole number of at least 0'),
});

/** The learning rates of a training, step by step: those of `train` with the same `schedule`. */
export class Schedule {
  readonly #schedule: ScheduleConfig;
  readonly #learningRate: number;
  readonly #length: RunLength;
  readonly #math: HostMath;
  #plateau: PlateauState = FIRST_PLATEAU;

  /** @internal */
  constructor(config: Config, schedule: ScheduleInput, length: ScheduleLength, math: HostMath) {
    checkOptions(lengthSchema, length, 'length of a schedule');
    const checked = checkConfig({ ...config, schedule }, 'schedule', checkModelRules);
    this.#schedule = checked.schedule;
    this.#learningRate = checked.optimizer.learningRate;
    this.#length = { stepsPerEpoch: length.stepsPerEpoch, totalSteps: length.epochs * length.stepsPerEpoch };
    this.#math = math;
  }

  /** The learning rate of a step, counted from 0: that with which step `engine.stepsDone` is taken next. */
  at(step: number): number {
    checkOptions(stepSchema, { step }, 'arguments of at');
    const { factor } = this.#plateau;
    const options = { ...this.#length, schedule: this.#schedule, learningRate: this.#learningRate };
    return factor * learningRateAt(step, { ...options, math: this.#math });
  }

  /** Takes note of the validation loss after an epoch, on which `plateau` depends. Others ignore it. */
  afterEpoch(validationLoss: number): void {
    if (this.#schedule.kind !== 'plateau') return;
    this.#plateau = plateauAfter(this.#schedule, this.#learningRate, this.#plateau, validationLoss);
  }
}
