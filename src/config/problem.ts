// What can be wrong with a config, and how several problems become the one error that a user reads.
import { formatLocation, LockstepError, MAX_NAME_LENGTH, shorten, type SourceLocation } from '../errors.ts';

/** The way from the root of a config to a value: keys of mappings and indices of lists. */
export type KeyPath = readonly (string | number)[];

/** Something that the syntax does not allow, at an offset in UTF-16 units. */
export interface SyntaxFlaw {
  readonly offset: number;
  readonly message: string;
  readonly help?: string | undefined;
}

/** A broken rule at a key path; where that is in the user's files is not known yet. */
export interface ConfigFinding {
  readonly path: KeyPath;
  /** The part that is wrong: the key itself (unknown), or its value. */
  readonly at: 'key' | 'value';
  readonly message: string;
  readonly help?: string | undefined;
}

/** A broken rule with its place in a file, a flag or an environment variable. */
export interface ConfigProblem {
  readonly message: string;
  readonly help?: string | undefined;
  readonly location: SourceLocation;
}

const MAX_LISTED = 10;

/** `model.layers.0.units`: the form that `--set` takes. The root is called `config`. */
export function formatKeyPath(path: KeyPath): string {
  return path.length === 0 ? 'config' : path.map((key) => shorten(String(key), MAX_NAME_LENGTH)).join('.');
}

/** A finding about the value at `path`; `text` follows its name. */
export function findAt(path: KeyPath, text: string, help?: string): ConfigFinding {
  return { path, at: 'value', message: `${formatKeyPath(path)}: ${text}`, help };
}

/**
 * The one error for all problems of a config. A single problem keeps its location and help; of
 * several, the first ten are listed, each with its place, sorted by it.
 */
export function problemsError(
  code: 'E_CONFIG_SYNTAX' | 'E_CONFIG_INVALID' | 'E_OPTIONS',
  file: string,
  problems: readonly ConfigProblem[],
): LockstepError {
  const [only] = problems;
  if (only && problems.length === 1) return new LockstepError({ category: 'usage', code, ...only });
  const sorted = problems.toSorted(comparePlaces);
  const lines = sorted.slice(0, MAX_LISTED).map((problem) => `  ${formatProblem(problem)}`);
  if (problems.length > MAX_LISTED) lines.push(`  and ${problems.length - MAX_LISTED} more`);
  const message = [`${problems.length} problems in ${file}`, ...lines].join('\n');
  return new LockstepError({ category: 'usage', code, message });
}

function formatProblem({ location, message, help }: ConfigProblem): string {
  return `${formatLocation(location)}: ${message}${help === undefined ? '' : ` (${help})`}`;
}

/** Compares places; those without a line are flags and variables, which come last, in the order given. */
function comparePlaces(a: ConfigProblem, b: ConfigProblem): number {
  const lastLine = Number.MAX_SAFE_INTEGER;
  const byLine = (a.location.line ?? lastLine) - (b.location.line ?? lastLine);
  return byLine || (a.location.column ?? 0) - (b.location.column ?? 0);
}
