// A config file, environment variables and `--set` flags to one checked config with absolute paths.
// Variables and flags become assignments of a value to a key path, which remember where they came from.
// Precedence: defaults < file < environment < flags.
import { dirname, resolve } from 'node:path';
import { isCollection } from 'yaml';
import { quoteName, shorten } from '../errors.ts';
import type { SourceLocation } from '../errors.ts';
import { parseConfigText, readConfigText, type ParsedConfig } from './config-text.ts';
import { resolveConfigPaths } from './resolve-paths.ts';
import { validateConfig } from './validate.ts';
import { problemsError, type ConfigProblem, type KeyPath, formatKeyPath } from './problem.ts';
import type { Config } from './schema.ts';
import { FORBIDDEN_KEY, parseYaml } from './yaml.ts';

// Ten problems are shown; to find the places of a hundred thousand would take minutes.
const MAX_LOCATED = 100;

/** The sources of a config. */
export interface ConfigOrigin {
  /** The config file (.yaml, .yml or .json), relative to `cwd`. */
  readonly path: string;
  /** Values of `--set`: `key.path=value`, the value in YAML. */
  readonly overrides?: readonly string[] | undefined;
  /** Default: the process's environment. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Default: the process's working directory. */
  readonly cwd?: string | undefined;
}

/** A checked config and the places of its values. */
export interface LoadedConfig {
  /** The config with all defaults; paths are absolute. */
  readonly config: Config;
  /** The config file, absolute. */
  readonly path: string;
  /** The directory of the config file, to which paths in it are relative. */
  readonly baseDirectory: string;
  /** The file and line, the flag or the variable that sets the value at a key path. */
  readonly locate: (keyPath: KeyPath) => SourceLocation;
}

/**
 * Loads a config.
 *
 * @throws LockstepError E_CONFIG_NOT_FOUND, E_CONFIG_UNREADABLE, E_CONFIG_SYNTAX or E_CONFIG_INVALID,
 * the last two with all problems at once
 */
export async function loadConfig(origin: ConfigOrigin): Promise<LoadedConfig> {
  const { path, overrides = [], env = process.env, cwd = process.cwd() } = origin;
  const parsed = parseConfigText(await readConfigText(path, cwd), path);
  const { assignments, problems: unreadable } = readOverrides(env, overrides);
  const { value, problems: misplaced } = applyAssignments(withoutSchemaKey(parsed.value), assignments);
  const locate = createLocator(parsed, assignments);
  const validation = validateConfig(value);
  const findings = 'findings' in validation ? validation.findings : [];
  const invalid = findings.map((finding, i): ConfigProblem => ({
    message: finding.message,
    help: finding.help,
    location: i < MAX_LOCATED ? locate(finding.path, finding.at) : { file: path },
  }));
  const problems = [...invalid, ...unreadable, ...misplaced];
  if (problems.length > 0 || !('config' in validation))
    throw problemsError('E_CONFIG_INVALID', path, problems);
  const file = resolve(cwd, path);
  const baseDirectory = dirname(file);
  return {
    config: resolveConfigPaths(validation.config, baseDirectory),
    path: file,
    baseDirectory,
    locate: (keyPath) => locate(keyPath, 'value'),
  };
}

/** JSON files name their JSON Schema by `$schema`, which is for editors only. */
function withoutSchemaKey(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('$schema' in value)) return value;
  const { $schema, ...rest } = value;
  return typeof $schema === 'string' ? rest : value;
}

type Locator = (path: KeyPath, at: 'key' | 'value') => SourceLocation;

/**
 * Creates a locator. An override of the value, or of something that contains it, wins over the file;
 * one inside the value counts if the file has nothing.
 */
function createLocator(parsed: ParsedConfig, assignments: readonly Assignment[]): Locator {
  return (path, at) => {
    const setter = assignments.findLast((assignment) => startsWith(path, assignment.path));
    if (setter) return setter.location;
    const { location, isWhole } = parsed.find(path, at);
    const part = isWhole
      ? undefined
      : assignments.findLast((assignment) => startsWith(assignment.path, path));
    return part?.location ?? location;
  };
}

function startsWith(path: KeyPath, prefix: KeyPath): boolean {
  return prefix.length <= path.length && prefix.every((key, i) => key === path[i]);
}

/** A value that replaces what the file has at a key path. */
interface Assignment {
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
  LOCKSTEP_METRICS_PORT: ['tracking', 'prometheus', 'port'],
} as const satisfies Record<string, KeyPath>;

const MAX_SHOWN = 80;

/** Assignments in order of precedence, later ones over earlier ones, and the texts that are none. */
interface Overrides {
  readonly assignments: readonly Assignment[];
  readonly problems: readonly ConfigProblem[];
}

/** Reads variables, then flags: a flag wins over a variable, and of two flags the last. */
function readOverrides(env: NodeJS.ProcessEnv, flags: readonly string[]): Overrides {
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
  const keys = flag.slice(0, equals).split('.');
  if (equals < 0 || keys.includes('')) {
    return {
      message: 'expected key.path=value',
      help: 'such as --set optimizer.learningRate=0.01',
      location,
    };
  }
  const path = keys.map((key) => (/^\d{1,9}$/.test(key) ? Number(key) : key));
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
  const key = path[depth];
  if (key === undefined) return value;
  if (Array.isArray(given)) return withItem(given, path, depth, value);
  const name = formatKeyPath(path.slice(0, depth));
  const container = expand(given, name);
  if (typeof key === 'number') throw new DeadEnd(`${name} is not a list and has no item ${key}`);
  if (key === FORBIDDEN_KEY) throw new DeadEnd(`the key "${key}" is not allowed`);
  if (container !== undefined && container !== null && typeof container !== 'object') {
    throw new DeadEnd(`${name} is not a mapping and has no key ${quoteName(key)}`);
  }
  const entries: Record<string, unknown> = { ...container };
  const previous = Object.hasOwn(entries, key) ? entries[key] : undefined;
  entries[key] = withValue(previous, path, depth + 1, value);
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
