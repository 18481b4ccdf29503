// A config file, environment variables and `--set` flags to one checked config with absolute paths.
// Precedence: defaults < file < environment < flags.
import { dirname, resolve } from 'node:path';
import type { SourceLocation } from '../errors.ts';
import { applyAssignments, readOverrides, type Assignment } from './overrides.ts';
import { parseConfigText, readConfigText, type ParsedConfig } from './config-text.ts';
import { resolveConfigPaths } from './data-sources.ts';
import { validateConfig } from './validate.ts';
import { configError, type ConfigProblem, type KeyPath } from './problem.ts';
import type { Config } from './schema.ts';

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
  if (problems.length > 0 || !('config' in validation)) throw configError('E_CONFIG_INVALID', path, problems);
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
  return prefix.length <= path.length && prefix.every((shard, i) => shard === path[i]);
}
