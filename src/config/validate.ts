// A plain value to a config with all its defaults, or to findings about every rule it breaks.
import { describeIssue } from './issues.ts';
import type { ConfigFinding } from './problem.ts';
import { checkRules } from './rules.ts';
import { configSchema, type Config } from './schema.ts';

/** A valid config, or what is wrong with the value. */
type Validation = { readonly config: Config } | { readonly findings: readonly ConfigFinding[] };

/** Checks each field by the schema and, once these are right, the rules between fields. */
export function validateConfig(value: unknown): Validation {
  const parsed = configSchema.safeParse(value);
  if (!parsed.success)
    return { findings: parsed.error.issues.flatMap((issue) => describeIssue(issue, value)) };
  const findings = checkRules(parsed.data);
  return findings.length > 0 ? { findings } : { config: parsed.data };
}
