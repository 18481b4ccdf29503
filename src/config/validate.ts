// A plain value to a config with all its defaults, or to findings about every rule it breaks: the key
// path, what was expected, what is there, the way out.
import type { z } from 'zod';
import { childValue, expectedAt, validKeys, type Expectation } from './expectation.ts';
import { problemsError, formatKeyPath, type ConfigFinding, type KeyPath } from './problem.ts';
import { checkRules } from './rules.ts';
import { configSchema, type Config } from './schema.ts';
import { didYouMean } from './suggest.ts';
import { MAX_DEPTH } from './yaml.ts';
import { quoteValue } from '../errors.ts';

/** A valid config, or what is wrong with the value. */
type Validation = { readonly config: Config } | { readonly findings: readonly ConfigFinding[] };

/** Checks each field by the schema and, once these are right, the rules between fields. */
export function validateConfig(value: unknown, rules = checkRules): Validation {
  // A program may hand in what no file can hold; the schema walks it recursively.
  if (isDeeperThan(value, MAX_DEPTH)) {
    return { findings: [{ path: [], at: 'value', message: `nested deeper than ${MAX_DEPTH} levels` }] };
  }
  const parsed = configSchema.safeParse(value);
  if (!parsed.success)
    return { findings: parsed.error.issues.flatMap((issue) => describeIssue(issue, value)) };
  const findings = rules(parsed.data);
  return findings.length > 0 ? { findings } : { config: parsed.data };
}

/**
 * Checks a config that no file has; `place` is what errors call it.
 * @throws LockstepError E_CONFIG_INVALID with all that is wrong with it
 */
export function checkConfig(value: unknown, place = 'config', rules = checkRules): Config {
  const validation = validateConfig(value, rules);
  if ('config' in validation) return validation.config;
  const location = { file: place };
  const problems = validation.findings.map(({ message, help }) => ({ message, help, location }));
  throw problemsError('E_CONFIG_INVALID', place, problems);
}

function isDeeperThan(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return depth === 0 || Object.values(value).some((part) => isDeeperThan(part, depth - 1));
}

type Issue = z.core.$ZodIssue;

/** Describes an issue, in one finding for each thing that is wrong; `root` is the value that was checked. */
function describeIssue(issue: Issue, root: unknown): ConfigFinding[] {
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

/**
 * The codes by which an alternative rejects a value of another type, or a word that is not one of its
 * own.
 */
const OTHER_TYPE: ReadonlySet<string | undefined> = new Set(['invalid_type', 'invalid_value']);

/**
 * Looks into the one alternative that has the value's type and, among several mappings, some of its
 * keys, if there is one: its issues say more.
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

/**
 * Tells whether an alternative, judged by its issues with the mapping at `path`, has any of the
 * mapping's keys.
 */
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

/** Describes a value; one whose type is not allowed is shown with its type: `"10" (string)`. */
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
  return path.map((key) => (typeof key === 'number' ? key : String(key)));
}
