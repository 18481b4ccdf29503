// A plain value to a config with all its defaults, or to findings about every rule it breaks.
import { describeIssue } from './issues.ts';
import type { ConfigFinding } from './problem.ts';
import { MAX_DEPTH } from './parse-yaml.ts';
import { checkRules } from './rules.ts';
import { configSchema, type Config } from './schema.ts';

/** A valid config, or what is wrong with the value. */
type Validation = { readonly config: Config } | { readonly findings: readonly ConfigFinding[] };

/** Checks each field by the schema and, once these are right, the rules between fields. */
export function validateConfig(value: unknown): Validation {
  // A program may hand in what no file can hold; the schema walks it recursively.
  if (isDeeperThan(value, MAX_DEPTH)) {
    return { findings: [{ path: [], at: 'value', message: `nested deeper than ${MAX_DEPTH} levels` }] };
  }
  const parsed = configSchema.safeParse(value);
  if (!parsed.success)
    return { findings: parsed.error.issues.flatMap((issue) => describeIssue(issue, value)) };
  const findings = checkRules(parsed.data);
  return findings.length > 0 ? { findings } : { config: parsed.data };
}

function isDeeperThan(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return depth === 0 || Object.values(value).some((part) => isDeeperThan(part, depth - 1));
}
