// From zod's issues to findings in Lockstep's words: the key path, what was expected, what stands there, the way out.
import type { z } from 'zod';
import { quoteValue } from '../errors.ts';
import { childValue, type Expectation, expectedAt, validKeys } from './expectation.ts';
import { type ConfigFinding, formatKeyPath, type KeyPath } from './problem.ts';
import { didYouMean } from './suggest.ts';

type Issue = z.core.$ZodIssue;

/** One finding for each thing that is wrong; `root` is the value that was checked. */
export function describeIssue(issue: Issue, root: unknown): ConfigFinding[] {
  const path = toKeyPath(issue.path);
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => describeUnknownKey(path, key, root));
    case 'invalid_union':
      return describeUnion(issue, root);
    case 'too_big':
      return [describeMismatch(path, expectedAt(path, 'upper', root), root)];
    case 'invalid_format':
      return [describeMismatch(path, { ...expectedAt(path, 'lower', root), words: issue.message }, root)];
    default:
      return [describeMismatch(path, expectedAt(path, 'lower', root), root)];
  }
}

function describeUnknownKey(parent: KeyPath, key: string, root: unknown): ConfigFinding {
  const candidates = validKeys(parent, root);
  const where = parent.length === 0 ? '' : ` in ${formatKeyPath(parent)}`;
  return {
    path: [...parent, key],
    at: 'key',
    message: `unknown key ${quoteValue(key)}${where}`,
    help: didYouMean(key, candidates) ?? `valid keys: ${candidates.join(', ')}`,
  };
}

/** What an alternative says of a value that is not of its type, or not one of its words. */
const OTHER_TYPE: ReadonlySet<string | undefined> = new Set(['invalid_type', 'invalid_value']);

/**
 * Looks into the one alternative that has the value's type and, of several mappings, some of its keys, if there is one:
 * its issues say more.
 */
function describeUnion(issue: z.core.$ZodIssueInvalidUnion, root: unknown): ConfigFinding[] {
  const path = toKeyPath(issue.path);
  const ofType = issue.errors.filter(
    (branch) => !branch.some(({ code, path: at }) => at.length === 0 && OTHER_TYPE.has(code)),
  );
  const candidates = ofType.length > 1 ? ofType.filter((branch) => knowsSomeKey(branch, path, root)) : ofType;
  const [only] = candidates;
  if (!only || candidates.length > 1) return [describeMismatch(path, expectedAt(path, 'lower', root), root)];
  return only.flatMap((inner) => describeIssue({ ...inner, path: [...issue.path, ...inner.path] }, root));
}

/** Whether an alternative, judged by its issues with the mapping at `path`, has any of the mapping's keys. */
function knowsSomeKey(branch: readonly Issue[], path: KeyPath, root: unknown): boolean {
  const value = valueAt(root, path);
  if (typeof value !== 'object' || value === null) return false;
  const unknown = branch.flatMap((inner) =>
    inner.code === 'unrecognized_keys' && inner.path.length === 0 ? inner.keys : [],
  );
  return unknown.length < Object.keys(value).length;
}

function describeMismatch(path: KeyPath, expected: Expectation, root: unknown): ConfigFinding {
  const value = valueAt(root, path);
  const name = formatKeyPath(path);
  if (value === undefined)
    return { path, at: 'value', message: `${name}: missing, expected ${expected.words}` };
  return {
    path,
    at: 'value',
    message: `${name}: expected ${expected.words}, got ${describeValue(value, expected)}`,
    help: suggestValue(value, expected),
  };
}

/** A value of a type that is not allowed is shown with its type: `"10" (string)`. */
function describeValue(value: unknown, { types }: Expectation): string {
  if (value === null) return 'nothing (null)';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object') return 'a mapping';
  return types.includes(typeof value) ? quoteValue(value) : `${quoteValue(value)} (${typeof value})`;
}

function suggestValue(value: unknown, { types, options }: Expectation): string | undefined {
  if (typeof value === 'string') {
    const isQuotedNumber = types.includes('number') && isNumeral(value);
    return didYouMean(value, options) ?? (isQuotedNumber ? 'remove the quotes' : undefined);
  }
  const isUnquoted = typeof value === 'number' || typeof value === 'boolean';
  return isUnquoted && types.includes('string') && options.length === 0 ? `quote it: "${value}"` : undefined;
}

function isNumeral(text: string): boolean {
  return /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text);
}

function valueAt(root: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>(childValue, root);
}

function toKeyPath(path: readonly PropertyKey[]): KeyPath {
  return path.map((segment) => (typeof segment === 'number' ? segment : String(segment)));
}
