// The config's `schedule`: how the learning rate changes, step by step. Lengths are in epochs.
import { z } from 'zod';

const warmup = z
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

const gamma = z.number().positive().max(1).default(0.1);
const lowest = z.number().min(0).default(0).describe('The learning rate that it comes down to');

const constant = z.strictObject({
  // Optional inside, so that a schedule without a kind is found to be this one.
  kind: z.literal('constant').optional().default('constant'),
  warmup,
});

const step = z.strictObject({
  kind: z.literal('step'),
  every: z.int().min(1).optional().describe('Multiplies by gamma each time so many epochs have passed'),
  milestones: z
    .array(z.int().min(1))
    .min(1)
    .optional()
    .describe('Multiplies by gamma when so many epochs have passed, for each; or give every'),
  gamma: gamma.describe('What the learning rate is multiplied by'),
  warmup,
});

const exponential = z.strictObject({
  kind: z.literal('exponential'),
  gamma: z
    .number()
    .positive()
    .max(1)
    .default(0.95)
    .describe('What each epoch multiplies the learning rate by'),
  warmup,
});

const cosine = z.strictObject({
  kind: z.literal('cosine'),
  period: z.int().min(1).optional().describe('Epochs until it starts again at the top; default: never'),
  multiplier: z.int().min(1).default(1).describe('How many times as long each further period is'),
  min: lowest,
  warmup,
});

const oneCycle = z.strictObject({
  kind: z.literal('oneCycle'),
  pctStart: z.number().gt(0).lt(1).default(0.3).describe('Share of the steps on the way up'),
  divFactor: z.number().min(1).default(25).describe('The first learning rate is the highest divided by this'),
  finalDivFactor: z.number().min(1).default(10_000).describe('The last one is the first divided by this'),
  anneal: z.enum(['cos', 'linear']).default('cos').describe('The form of both ways'),
  warmup,
});

const polynomial = z.strictObject({
  kind: z.literal('polynomial'),
  power: z.number().positive().max(100).default(1).describe('Exponent of the share of steps that are left'),
  min: lowest,
  warmup,
});

const plateau = z.strictObject({
  kind: z.literal('plateau'),
  factor: z.number().positive().lt(1).default(0.1).describe('What the learning rate is multiplied by'),
  patience: z.int().min(0).default(10).describe('Epochs without a better validation loss that it waits'),
  threshold: z
    .number()
    .min(0)
    .lt(1)
    .default(1e-4)
    .describe('Share by which a loss must be less to be better'),
  cooldown: z.int().min(0).default(0).describe('Epochs after a reduction that do not count'),
  min: lowest,
  warmup,
});

/** One of the kinds, each with its own fields. */
export const scheduleSchema = z.discriminatedUnion('kind', [
  constant,
  step,
  exponential,
  cosine,
  oneCycle,
  polynomial,
  plateau,
]);

/** A checked schedule of a config. */
export type ScheduleConfig = z.output<typeof scheduleSchema>;
/** The settings of one kind. */
export type ScheduleOf<Kind extends ScheduleConfig['kind']> = Extract<ScheduleConfig, { kind: Kind }>;
