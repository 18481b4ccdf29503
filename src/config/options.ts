// Options of the calls of a program, which in JavaScript may be anything: checked at once, as a config is.
import { z } from 'zod';
import { quoteValue } from '../errors.ts';
import { configError, type ConfigProblem } from './problem.ts';
import { didYouMean } from './suggest.ts';

/** No file system takes a NUL in a name. */
const path = z.string().regex(/^[^\0]+$/);

export const pathArgument = path.describe('a path');
export const pathOption = path.optional().describe('a path');

/** A function of the user's, which is told of something. */
export const functionOption = z
  .custom((value) => typeof value === 'function')
  .optional()
  .describe('a function');

/**
 * Checks options by a schema whose fields describe what is expected of them; `place` is what errors call them.
 *
 * @throws LockstepError (category `usage`) with all that is wrong
 */
export function checkOptions(schema: z.ZodObject, options: unknown, place: string): void {
  const { error } = schema.safeParse(options);
  if (!error) return;
  const problems = error.issues.flatMap((issue) => describeIssue(issue, schema, options));
  const unique = new Map(problems.map((problem) => [problem.message, problem]));
  throw configError(
    'E_OPTIONS',
    place,
    [...unique.values()].map((problem) => ({ ...problem, location: { file: place } })),
  );
}

function describeIssue(
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
