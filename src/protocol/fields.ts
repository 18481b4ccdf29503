// Checks for the fields of a decoded header. Each takes an untrusted value and the path to name it
// by, and returns the value with its type, or throws a ProtocolError that says what was expected.
import { isIPv6 } from 'node:net';
import type { z } from 'zod';
import { quoteValue } from '../errors.ts';
import { ProtocolError } from './protocol-error.ts';

/** Checks one value. */
export type Field<T> = (value: unknown, path: string) => T;

/** One check for every property of a message but its type, which travels in the envelope. */
export type FieldsOf<M> = { readonly [Name in Exclude<keyof M, 'type'>]-?: Field<M[Name]> };

/** A safe integer of a range, both ends included. */
export function integer(min: number, max: number = Number.MAX_SAFE_INTEGER): Field<number> {
  return (value, path) => {
    if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max)
      return value as number;
    throw wrongField(path, `an integer from ${min} to ${max}`, value);
  };
}

/** Numbers that a float may be: any, only finite ones, or those of a range. */
interface FloatRange {
  readonly isFinite: boolean;
  readonly min?: number;
  readonly max?: number;
}

/** A number that need not be an integer. */
export function float({ isFinite, min, max }: FloatRange): Field<number> {
  const isWithin = (value: number): boolean => !(value < (min ?? value)) && !(value > (max ?? value));
  const range = min === undefined || max === undefined ? '' : ` from ${min} to ${max}`;
  return (value, path) => {
    if (typeof value === 'number' && (!isFinite || Number.isFinite(value)) && isWithin(value)) return value;
    throw wrongField(path, (isFinite ? 'a finite number' : 'a number') + range, value);
  };
}

/**
 * Text of at most `maxLength` UTF-16 units. It may end up on a terminal, so control
 * characters become spaces.
 */
export function text(maxLength: number): Field<string> {
  return (value, path) => {
    if (typeof value === 'string' && value.length <= maxLength) return value.replace(/\p{Cc}/gu, ' ');
    throw wrongField(path, `text of at most ${maxLength} characters`, value);
  };
}

/** Text of at most `maxLength` UTF-16 units that stands for a host in a URL, and for nothing else. */
export function host(maxLength: number): Field<string> {
  return (value, path) => {
    const name = text(maxLength)(value, path);
    if (isIPv6(name) || /^[\w.-]+$/.test(name)) return name;
    throw wrongField(path, 'the name or address of a host', value);
  };
}

/** Exactly `length` lower-case hexadecimal digits. */
export function hex(length: number): Field<string> {
  const pattern = new RegExp(`^[0-9a-f]{${length}}$`);
  return (value, path) => {
    if (typeof value === 'string' && pattern.test(value)) return value;
    throw wrongField(path, `${length} hexadecimal digits`, value);
  };
}

/** One of a few words. */
export function oneOf<T extends string>(words: readonly T[]): Field<T> {
  return (value, path) => {
    const word = words.find((candidate) => candidate === value);
    if (word !== undefined) return word;
    throw wrongField(path, words.length === 1 ? `"${words[0]}"` : `one of ${words.join(', ')}`, value);
  };
}

export const boolean: Field<boolean> = (value, path) => {
  if (typeof value === 'boolean') return value;
  throw wrongField(path, 'true or false', value);
};

/** A property that may be absent. */
export function optional<T>(field: Field<T>): Field<T | undefined> {
  return (value, path) => (value === undefined ? undefined : field(value, path));
}

/** A field that a schema of the config file accepts. */
export function parsed<T>(schema: z.ZodType<T>): Field<T> {
  return (value, path) => {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    const [issue] = result.error.issues;
    const at = (issue?.path ?? []).map((key) => `.${String(key)}`).join('');
    const reason = issue?.message.replace(/^Invalid (input|option): /, '') ?? 'not valid';
    throw new ProtocolError('E_MESSAGE_FIELD', `${path}${at}: ${reason}`);
  };
}

/** A list whose length is within a range, both ends included. */
export function array<T>(element: Field<T>, minLength: number, maxLength: number): Field<T[]> {
  return (value, path) => {
    if (Array.isArray(value) && value.length >= minLength && value.length <= maxLength) {
      return value.map((item, index) => element(item, `${path}[${index}]`));
    }
    throw wrongField(path, `a list of ${minLength} to ${maxLength}`, value);
  };
}

/** An object of exactly these properties; only its own ones count, and a fresh object is returned. */
export function object<M>(fields: FieldsOf<M>): Field<Omit<M, 'type'>> {
  const checks = Object.entries<Field<unknown>>(fields);
  return (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw wrongField(path, 'an object', value);
    }
    for (const name of Object.keys(value)) {
      if (!Object.hasOwn(fields, name)) throw unknownProperty(path, name);
    }
    const checked: Record<string, unknown> = {};
    for (const [name, check] of checks) {
      const property = Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
      const result = check(property, `${path}.${name}`);
      if (result !== undefined) checked[name] = result;
    }
    return checked as Omit<M, 'type'>;
  };
}

function unknownProperty(path: string, name: string): ProtocolError {
  return new ProtocolError('E_MESSAGE_FIELD', `${path}: unknown property ${quoteValue(name)}`);
}

function wrongField(path: string, expected: string, value: unknown): ProtocolError {
  return new ProtocolError('E_MESSAGE_FIELD', `${path}: expected ${expected}, got ${describe(value)}`);
}

/** Never converts an object to text: one with a `toString` of the sender's making would throw. */
function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  return quoteValue(value);
}
