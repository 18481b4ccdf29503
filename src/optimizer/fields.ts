// Config fields that several optimizers share.
import { z } from 'zod';

/** Decay of a moving average over steps. */
export function average(defaultValue: number, text: string): z.ZodDefault<z.ZodNumber> {
  return z.number().min(0).lt(1).default(defaultValue).describe(text);
}

export function learningRate(defaultValue: number): z.ZodDefault<z.ZodNumber> {
  return z.number().positive().default(defaultValue).describe('Size of a step, before any schedule');
}

export const epsilon = z.number().positive().default(1e-8).describe('Added to the denominator');

/** Both fields of weight decay: how much, and what of. */
export function weightDecay(
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

export const COUPLED = 'This share of each weight is added to its gradient (L2)';
export const DECOUPLED = 'This share of each weight, times the learning rate, is taken off it';
