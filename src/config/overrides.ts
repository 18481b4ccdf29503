// Settings from outside the file: `--set key.path=value` flags and a few environment variables.
// Both become assignments of a value to a key path, which remember where they came from.
import { isCollection } from 'yaml';
import { quoteName, shorten, type SourceLocation } from '../errors.ts';
import { FORBIDDEN_KEY, parseYaml } from './yaml.ts';
import { formatKeyPath, type ConfigProblem, type KeyPath } from './problem.ts';

/** A value that replaces what the file has at a key path. */
export interface Assignment {
  readonly path: KeyPath;
  readonly value: unknown;
  /** The flag or variable, in the place of a file's name. */
  readonly location: SourceLocation;
}

/** The environment variables that set a field. Empty counts as unset. */
const ENVIRONMENT_FIELDS = {
  LOCKSTEP_SEED: ['seed'],
  LOCKSTEP_EPOCHS: ['epochs'],
  LOCKSTEP_BATCH_SIZE: ['batchSize'],
} as const satisfies Record<string, KeyPath>;

const MAX_SHOWN = 80;

/** Assignments in order of precedence, later ones over earlier ones, and the texts that are none. */
interface Overrides {
  readonly assignments: readonly Assignment[];
  readonly problems: readonly ConfigProblem[];
}

/** Reads variables, then flags: a flag wins over a variable, and of two flags the last. */
export function readOverrides(env: NodeJS.ProcessEnv, flags: readonly string[]): Overrides {
  const results = [
    ...Object.entries(ENVIRONMENT_FIELDS)
      .filter(([name]) => env[name])
      .map(([name, path]) =>
        readValue(path, env[name] ?? '', { file: shorten(`${name}=${env[name]}`, MAX_SHOWN) }),
      ),
    ...flags.map(readFlag),
  ];
  return {
    assignments: results.filter((result) => 'path' in result),
    problems: results.filter((result) => 'message' in result),
  };
}

/** `model.layers.0.units=32`: a key path with indices as numbers, and a value in YAML. */
function readFlag(flag: string): Assignment | ConfigProblem {
  const location = { file: shorten(`--set ${flag}`, MAX_SHOWN) };
  const equals = flag.indexOf('=');
  const shards = flag.slice(0, equals).split('.');
  if (equals < 0 || shards.includes('')) {
    return {
      message: 'expected key.path=value',
      help: 'such as --set optimizer.learningRate=0.01',
      location,
    };
  }
  const path = shards.map((shard) => (/^\d{1,9}$/.test(shard) ? Number(shard) : shard));
  return readValue(path, flag.slice(equals + 1), location);
}

function readValue(path: KeyPath, text: string, location: SourceLocation): Assignment | ConfigProblem {
  const { value, document, flaws } = parseYaml(text);
  const key = formatKeyPath(path);
  const [flaw] = flaws;
  if (flaw) return { message: `${key}: ${flaw.message}`, help: 'quote the value if it is text', location };
  if (isCollection(document.contents) && !document.contents.flow) {
    return {
      message: `${key}: expected one value`,
      help: 'write lists as [a, b], mappings as {key: value}',
      location,
    };
  }
  return { path, value, location };
}

/**
 * Applies assignments to a copy of `root`, which stays as it is; containers that YAML aliases share are
 * copied too, so that a value is set in one place only. Those with a path that leads nowhere become
 * problems.
 */
export function applyAssignments(
  root: unknown,
  assignments: readonly Assignment[],
): { value: unknown; problems: ConfigProblem[] } {
  const problems: ConfigProblem[] = [];
  let value = root;
  for (const { path, value: assigned, location } of assignments) {
    try {
      value = withValue(value, path, 0, assigned);
    } catch (error) {
      if (!(error instanceof DeadEnd)) throw error;
      problems.push({ message: error.message, location });
    }
  }
  return { value, problems };
}

class DeadEnd extends Error {}

/**
 * Fields in which a plain value is short for a mapping with one key: `loss: mse` for `loss: { kind:
 * mse }`.
 */
const SHORT_FORMS: Readonly<Record<string, string>> = {
  audit: 'share',
  'data.missing': 'default',
  loss: 'kind',
};

/** The mapping that a short form stands for; any other value as it is. */
function expand(value: unknown, name: string): unknown {
  const key = Object.hasOwn(SHORT_FORMS, name) ? SHORT_FORMS[name] : undefined;
  const isShort = typeof value === 'string' || typeof value === 'number';
  return key !== undefined && isShort ? { [key]: value } : value;
}

function withValue(given: unknown, path: KeyPath, depth: number, value: unknown): unknown {
  const shard = path[depth];
  if (shard === undefined) return value;
  if (Array.isArray(given)) return withItem(given, path, depth, value);
  const name = formatKeyPath(path.slice(0, depth));
  const container = expand(given, name);
  if (typeof shard === 'number') throw new DeadEnd(`${name} is not a list and has no item ${shard}`);
  if (shard === FORBIDDEN_KEY) throw new DeadEnd(`the key "${shard}" is not allowed`);
  if (container !== undefined && container !== null && typeof container !== 'object') {
    throw new DeadEnd(`${name} is not a mapping and has no key ${quoteName(shard)}`);
  }
  const entries: Record<string, unknown> = { ...container };
  const previous = Object.hasOwn(entries, shard) ? entries[shard] : undefined;
  entries[shard] = withValue(previous, path, depth + 1, value);
  return entries;
}

function withItem(items: readonly unknown[], path: KeyPath, depth: number, value: unknown): unknown[] {
  const index = path[depth];
  if (typeof index !== 'number' || index >= items.length) {
    const name = formatKeyPath(path.slice(0, depth));
    throw new DeadEnd(
      `${name} has no item ${quoteName(String(index))}; it has ${items.length}, counted from 0`,
    );
  }
  return items.with(index, withValue(items[index], path, depth + 1, value));
}
