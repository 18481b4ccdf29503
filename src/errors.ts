// The one error type that reaches a user: what went wrong, where, and the next action.
// Anything else that escapes is a bug of ours and exits with EXIT.bug and a stack trace.

import { formatCount, indentFurther } from './printable.ts';

/** Process exit codes, stable for scripts that call `lockstep`. */
export const EXIT = {
  done: 0,
  failure: 1,
  usage: 2,
  data: 3,
  checkpoint: 4,
  network: 5,
  diverged: 6,
  noWorkers: 7,
  bug: 70,
  interrupted: 130,
  terminated: 143,
} as const;

/** The reason a command failed; decides the exit code. */
export type ErrorCategory = Exclude<keyof typeof EXIT, 'done' | 'bug' | 'terminated'>;

/** A place in a file that the user wrote. */
export interface SourceLocation {
  /** Its path, or what stands for one, such as `options of train`. */
  readonly file: string;
  /** The line, from 1. */
  readonly line?: number | undefined;
  /** The character of the line, from 1. */
  readonly column?: number | undefined;
}

/** The parts of a `LockstepError`. */
export interface ErrorDetails {
  readonly category: ErrorCategory;
  /** Stable identifier for scripts and docs, such as `E_DATA_RAGGED_ROW`. */
  readonly code: `E_${string}`;
  /** One line: field, rule and the value seen. */
  readonly message: string;
  readonly location?: SourceLocation | undefined;
  /** One line: the next action to take. */
  readonly help?: string | undefined;
  readonly cause?: unknown;
}

/** An error with words for the user, a stable code and an exit code. */
export class LockstepError extends Error {
  /** The kind of problem, which decides the exit code of a command. */
  readonly category: ErrorCategory;
  /** Stable identifier, such as `E_DATA_RAGGED_ROW`. */
  readonly code: `E_${string}`;
  /** The place in a file, if there is one. */
  readonly location: SourceLocation | undefined;
  /** The next action to take. */
  readonly help: string | undefined;

  /** @internal */
  constructor(details: ErrorDetails) {
    super(details.message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'LockstepError';
    this.category = details.category;
    this.code = details.code;
    this.location = details.location;
    this.help = details.help;
  }

  /** The exit code of a command that ends by this error. */
  get exitCode(): number {
    return EXIT[this.category];
  }
}

/** An error in a data file. */
export function dataError(
  code: `E_DATA_${string}`,
  message: string,
  context: Pick<ErrorDetails, 'location' | 'help'> = {},
): LockstepError {
  return new LockstepError({ category: 'data', code, message, ...context });
}

/** An error in the config that only the data reveals. */
export function configError(code: `E_CONFIG_${string}`, message: string, help?: string): LockstepError {
  return new LockstepError({ category: 'usage', code, message, help });
}

/** `file:line:column` with the parts that are known. */
export function formatLocation(location: SourceLocation): string {
  return [location.file, location.line, location.column].filter((part) => part !== undefined).join(':');
}

/**
 * The text a user sees on stderr: `error[E_CODE]: what`, `--> file:line:col`, `help: next action`.
 * Names of columns or files may have line breaks: what follows one is indented more than these.
 */
export function formatError(error: LockstepError): string {
  const parts = [`error[${error.code}]: ${error.message}`];
  if (error.location) parts.push(`  --> ${formatLocation(error.location)}`);
  if (error.help) parts.push(`  help: ${error.help}`);
  return parts.map(indentFurther).join('\n');
}

/** Cuts what users wrote for use in a message. */
export function shorten(text: string, maxLength = 40): string {
  return text.length > maxLength ? `${text.slice(0, maxLength - 1)}…` : text;
}

/**
 * Shows a value in an error message, cut at 40 characters; of objects the type:
 * `a list of 2`, `a Promise`.
 */
export function quoteValue(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) {
    const type = Object.prototype.toString.call(value).slice('[object '.length, -1);
    return type === 'Object' ? 'an object' : `a ${type}`;
  }
  return shorten(typeof value === 'string' ? JSON.stringify(value) : String(value));
}

/** Longer names are cut in messages; a table may have names of 16 MiB. */
export const MAX_NAME_LENGTH = 80;

/** The name of a column, a class or a tensor in quotes, cut at 80 characters. */
export function quoteName(name: string): string {
  return `"${shorten(name, MAX_NAME_LENGTH)}"`;
}

/** Names one after the other, each cut, and how many there are in all where some are left out. */
export function listNames(names: readonly string[], maxListed = 20): string {
  const shown = names
    .slice(0, maxListed)
    .map((name) => shorten(name))
    .join(', ');
  return names.length > maxListed ? `${shown}, … (${formatCount(names.length)} in all)` : shown;
}

/** The `code` of a Node system error (`ENOENT`, `EADDRINUSE`), or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
