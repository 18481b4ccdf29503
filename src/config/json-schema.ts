// The config's JSON Schema, for editors that complete and check config files while they are written.
import { z } from 'zod';
import { configSchema } from './schema.ts';

/** A node of a JSON Schema, as zod prints it. */
export type JsonSchema = z.core.JSONSchema.JSONSchema;

/**
 * JSON Schema (draft 2020-12) of the config file as users write it, before defaults. It allows one key more than
 * the config has: `$schema`, by which a JSON file names its schema.
 */
export function configJsonSchema(): JsonSchema {
  const { properties, ...rest } = z.toJSONSchema(configSchema, { io: 'input' });
  return { ...rest, title: 'Lockstep config', properties: { $schema: { type: 'string' }, ...properties } };
}
