// Every kind of optimizer: the one place that knows them all.
import { z } from 'zod';
import { adamRule, adamSchema, adamWSchema } from './adam.ts';
import { lionRule, lionSchema } from './lion.ts';
import { rmspropRule, rmspropSchema } from './rmsprop.ts';
import type { UpdateRule } from './rule.ts';
import { sgdRule, sgdSchema } from './sgd.ts';

/** What the config's `optimizer` may be. */
export const optimizerSchema = z.discriminatedUnion('kind', [
  adamSchema,
  adamWSchema,
  sgdSchema,
  rmspropSchema,
  lionSchema,
]);

/** A checked optimizer of a config. */
export type OptimizerConfig = z.output<typeof optimizerSchema>;

/** The rule by which it moves parameters. */
export function createRule(config: OptimizerConfig): UpdateRule {
  switch (config.kind) {
    case 'adam':
    case 'adamW':
      return adamRule(config);
    case 'sgd':
      return sgdRule(config);
    case 'rmsprop':
      return rmspropRule(config);
    case 'lion':
      return lionRule(config);
    default:
      return config satisfies never;
  }
}
