// What the config may hold at a key path, in words for error messages. Read from the JSON Schema, so that every
// message follows the schema and no second list of fields exists.
import { configJsonSchema, type JsonSchema } from './json-schema.ts';
import type { KeyPath } from './problem.ts';

const ROOT = configJsonSchema();

/** The bound that a value breaks; it is the one that words name. */
type BrokenBound = 'lower' | 'upper';

/** What may stand at a key path. */
export interface Expectation {
  /** `integer >= 1`, `one of "mse", "crossEntropy"`, `non-empty string or list of at least 1`. */
  readonly words: string;
  /** The JSON types allowed; integers count as numbers. */
  readonly types: readonly string[];
  /** The words allowed, where only some are. */
  readonly options: readonly string[];
}

/** What the schema allows at `path`, which must be one that it knows. */
export function expectedAt(path: KeyPath, broken: BrokenBound): Expectation {
  const schemas = schemasAt(path);
  return {
    words: [...new Set(schemas.map((schema) => describeSchema(schema, broken)))].join(' or '),
    types: schemas.map(({ type }) => (type === 'integer' ? 'number' : String(type))),
    options: schemas.flatMap((schema) => optionsOf(schema) ?? []),
  };
}

/** The keys that a mapping at `path` may have. */
export function validKeys(path: KeyPath): string[] {
  const keys = schemasAt(path).flatMap(({ properties }) => Object.keys(properties ?? {}));
  return [...new Set(keys)].filter((key) => key !== '$schema');
}

/** The alternatives for the value at `path`; none if the schema knows no such path. */
function schemasAt(path: KeyPath): JsonSchema[] {
  let schemas = alternatives(ROOT);
  for (const segment of path) schemas = schemas.flatMap((schema) => alternatives(childOf(schema, segment)));
  return schemas;
}

function alternatives(schema: unknown): JsonSchema[] {
  if (!isSchema(schema)) return [];
  const options = schema.anyOf ?? schema.oneOf;
  return options ? options.flatMap(alternatives) : [schema];
}

function childOf({ properties, additionalProperties, items }: JsonSchema, segment: string | number): unknown {
  if (typeof segment === 'number') return items;
  return properties && Object.hasOwn(properties, segment) ? properties[segment] : additionalProperties;
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function optionsOf(schema: JsonSchema): string[] | undefined {
  return schema.const === undefined ? schema.enum?.map(String) : [String(schema.const)];
}

function describeSchema(schema: JsonSchema, broken: BrokenBound): string {
  const options = optionsOf(schema)?.map((option) => JSON.stringify(option));
  if (options) return options.length === 1 ? options.join('') : `one of ${options.join(', ')}`;
  switch (schema.type) {
    case 'integer':
    case 'number':
      return `${schema.type}${describeBound(schema, broken)}`;
    case 'string':
      return describeString(schema, broken);
    case 'boolean':
      return 'true or false';
    case 'array':
      return `list${describeLength(schema, broken)}`;
    default:
      return schema.required ? `mapping with ${schema.required.join(', ')}` : 'mapping';
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
