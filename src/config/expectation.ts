// What the config may hold at a key path, in words for error messages. Read from the JSON Schema, so that
// every message follows the schema and no second list of fields exists.
import { z } from 'zod';
import type { KeyPath } from './problem.ts';
import { configSchema } from './schema.ts';

/** A node of a JSON Schema, as zod prints it. */
export type JsonSchema = z.core.JSONSchema.JSONSchema;

/**
 * JSON Schema (draft 2020-12) of the config file as users write it, before defaults. It allows one key
 * more than the config has: `$schema`, by which a JSON file names its schema.
 */
export function configJsonSchema(): JsonSchema {
  const { properties, ...rest } = z.toJSONSchema(configSchema, { io: 'input' });
  return { ...rest, title: 'Lockstep config', properties: { $schema: { type: 'string' }, ...properties } };
}

let root: JsonSchema | undefined;

/** The JSON Schema, made for the first error: that takes longer than reading a config. */
function rootSchema(): JsonSchema {
  return (root ??= configJsonSchema());
}

/** The bound that a value breaks, which the words then name. */
type BrokenBound = 'lower' | 'upper';

/** Everything that is allowed at a key path. */
export interface Expectation {
  /** `integer >= 1`, `one of "mse", "crossEntropy"`, `non-empty string or list of at least 1`. */
  readonly words: string;
  /** The JSON types allowed; integers count as numbers. */
  readonly types: readonly string[];
  /** The words allowed, where only some are. */
  readonly options: readonly string[];
}

/** Everything that the schema allows at `path` of the value `root`; the schema must know that path. */
export function expectedAt(path: KeyPath, broken: BrokenBound, root: unknown): Expectation {
  const schemas = schemasAt(path, root);
  return {
    words: describeAlternatives(schemas, broken),
    types: schemas.map(({ type }) => (type === 'integer' ? 'number' : String(type))),
    options: schemas.flatMap((schema) => optionsOf(schema) ?? []),
  };
}

/** The keys that the mapping at `path` of `root` may have. */
export function validKeys(path: KeyPath, root: unknown): string[] {
  const keys = schemasAt(path, root).flatMap(({ properties }) => Object.keys(properties ?? {}));
  return [...new Set(keys)].filter((key) => key !== '$schema');
}

/** The alternatives for the value at `path`; none if the schema knows no such path. */
function schemasAt(path: KeyPath, config: unknown): JsonSchema[] {
  let schemas = ofSameKind(alternatives(rootSchema()), config);
  let value = config;
  for (const key of path) {
    value = childValue(value, key);
    const children = schemas.flatMap((schema) => alternatives(childOf(schema, key)));
    schemas = ofSameKind(children, value);
  }
  return schemas;
}

/** Selects, among mappings that differ in `kind`, the one that the value names, or the default one. */
function ofSameKind(schemas: JsonSchema[], value: unknown): JsonSchema[] {
  const kind = childValue(value, 'kind');
  const same = schemas.filter(({ properties }) => {
    const expected = properties?.kind;
    if (!isSchema(expected)) return false;
    return kind === undefined ? expected.default !== undefined : expected.const === kind;
  });
  return same.length > 0 ? same : schemas;
}

function alternatives(schema: unknown): JsonSchema[] {
  if (!isSchema(schema)) return [];
  // Layers hold layers, so their schema is there once and referred to.
  if (schema.$ref !== undefined)
    return alternatives(rootSchema().$defs?.[schema.$ref.replace('#/$defs/', '')]);
  const options = schema.anyOf ?? schema.oneOf;
  return options ? options.flatMap(alternatives) : [schema];
}

function childOf(schema: JsonSchema, key: string | number): unknown {
  const { properties, additionalProperties, prefixItems, items } = schema;
  if (typeof key === 'number') return prefixItems?.[key] ?? items;
  return properties && Object.hasOwn(properties, key) ? properties[key] : additionalProperties;
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value that a mapping or list holds under a key; undefined if there is none. */
export function childValue(container: unknown, key: string | number): unknown {
  if (typeof container !== 'object' || container === null) return undefined;
  return Object.hasOwn(container, key) ? Reflect.get(container, key) : undefined;
}

/**
 * Describes alternatives: words in one list, mappings by the keys that all of them need or, without
 * any, one by one, and everything else that is allowed.
 */
function describeAlternatives(schemas: readonly JsonSchema[], broken: BrokenBound): string {
  const words = schemas.filter((schema) => optionsOf(schema));
  const mappings = schemas.filter((schema) => schema.type === 'object');
  const others = schemas.filter((schema) => !words.includes(schema) && !mappings.includes(schema));
  const parts = others.map((schema) => describeSchema(schema, broken));
  const [first, ...rest] = mappings;
  if (words.length > 0) parts.unshift(describeOptions(words.flatMap((schema) => optionsOf(schema) ?? [])));
  const shared = (first?.required ?? []).filter((key) =>
    rest.every(({ required }) => required?.includes(key)),
  );
  if (shared.length > 0) parts.push(describeMapping(shared));
  else parts.push(...mappings.map(({ required }) => describeMapping(required)));
  return [...new Set(parts)].join(' or ');
}

function describeOptions(options: readonly string[]): string {
  const quoted = options.map((option) => JSON.stringify(option)).join(', ');
  return options.length === 1 ? quoted : `one of ${quoted}`;
}

function optionsOf(schema: JsonSchema): string[] | undefined {
  return schema.const === undefined ? schema.enum?.map(String) : [String(schema.const)];
}

function describeMapping(required: readonly string[] = []): string {
  return required.length === 0 ? 'mapping' : `mapping with ${required.join(', ')}`;
}

function describeSchema(schema: JsonSchema, broken: BrokenBound): string {
  switch (schema.type) {
    case 'integer':
    case 'number':
      return `${schema.type}${describeBound(schema, broken)}`;
    case 'string':
      return describeString(schema, broken);
    case 'boolean':
      return 'true or false';
    default:
      return `list${describeLength(schema, broken)}`;
  }
}

function describeBound(schema: JsonSchema, broken: BrokenBound): string {
  const { minimum, exclusiveMinimum, maximum, exclusiveMaximum } = schema;
  if (broken === 'upper') return maximum === undefined ? ` < ${exclusiveMaximum}` : ` <= ${maximum}`;
  return minimum === undefined ? ` > ${exclusiveMinimum}` : ` >= ${minimum}`;
}

function describeString({ minLength, maxLength }: JsonSchema, broken: BrokenBound): string {
  if (minLength === 1 && maxLength === 1) return 'single character';
  if (broken === 'upper') return `string of at most ${maxLength} characters`;
  return minLength === undefined ? 'string' : 'non-empty string';
}

function describeLength({ minItems, maxItems }: JsonSchema, broken: BrokenBound): string {
  if (broken === 'upper' && maxItems !== undefined) return ` of at most ${maxItems}`;
  return minItems === undefined ? '' : ` of at least ${minItems}`;
}
