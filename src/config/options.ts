// Options of a program's calls, checked by a schema.
import { z } from 'zod';
import { problemsError, type ConfigProblem } from './problem.ts';
import { didYouMean } from './suggest.ts';
import { quoteValue } from '../errors.ts';

/** A path without NUL, which no file system takes. */
const path = z.string().regex(/^[^\0]+$/);

export const pathArgument = path.describe('a path');

export const pathOption = path.optional().describe('a path');

/** A callback of the user's. */
export const functionOption = z
  .custom((value) => typeof value === 'function')
  .optional()
  .describe('a function');

/** Metrics of the user's own. */
export const metricsOption = z
  .record(
    z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
    z.custom((value) => typeof value === 'function'),
  )
  .optional()
  .describe('functions by name, of at most 64 letters, digits, ".", "_" and "-"');

/**
 * Checks options by a schema whose fields describe what is expected of them; `place` is what errors
 * call them.
 *
 * @throws LockstepError (category `usage`) with everything that is wrong
 */
export function checkOptions(schema: z.ZodObject, options: unknown, place: string): void {
  const { error } = schema.safeParse(options);
  if (!error) return;
  const problems = error.issues.flatMap((issue) => describeOptionIssue(issue, schema, options));
  const unique = new Map(problems.map((problem) => [problem.message, problem]));
  throw problemsError(
    'E_OPTIONS',
    place,
    [...unique.values()].map((problem) => ({ ...problem, location: { file: place } })),
  );
}

function describeOptionIssue(
  issue: z.core.$ZodIssue,
  { shape }: z.ZodObject,
  options: unknown,
): Omit<ConfigProblem, 'location'>[] {
  const names = Object.keys(shape);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const help = didYouMean(key, names) ?? `valid options: ${names.join(', ')}`;
      return { message: `unknown option ${quoteValue(key)}`, help };
    });
  }
  const [name] = issue.path;
  if (typeof name !== 'string') return [{ message: `expected an object, got ${quoteValue(options)}` }];
  const value: unknown = Reflect.get(options as object, name);
  const expected = (shape[name] as z.ZodType).description ?? 'another value';
  return [{ message: `${name}: expected ${expected}, got ${quoteValue(value)}` }];
}
