// `lockstep init`: a config for data that nobody has described yet, checked as a run would check it.
import { access } from 'node:fs/promises';
import path from 'node:path';
import { parseConfigText } from '../../src/config/config-text.ts';
import { resolveConfigPaths } from '../../src/config/resolve-paths.ts';
import { validateConfig } from '../../src/config/validate.ts';
import { displayPath } from '../../src/data/dataset/source-file.ts';
import { LockstepError } from '../../src/errors.ts';
import { draftConfig } from '../../src/inspect/draft-config.ts';
import type { DraftOptions } from '../../src/inspect/draft-choices.ts';
import type { DraftConfig } from '../../src/inspect/draft-config.ts';
import { summarizeData } from '../../src/inspect/find-data.ts';
import type { FoundData } from '../../src/inspect/find-data.ts';
import { countOf } from '../../src/printable.ts';
import { cannotWrite } from '../output/results.ts';
import { writeFileDurably } from '../../src/durable-write.ts';
import { systemErrorCode } from '../../src/errors.ts';
import { prepareRun } from '../training/prepare.ts';

const WORD_WIDTH = 10;
const MAX_WARNINGS = 8;

/** A config to write, and where. */
export interface InitOptions extends Omit<DraftOptions, 'directory'> {
  readonly output: string;
  /** Replaces an existing file. */
  readonly force: boolean;
}

/** Refuses to replace a file, before anything is asked. @throws LockstepError (exit 2) */
export async function requireFree(output: string, force: boolean): Promise<void> {
  const exists = await access(output).then(
    () => true,
    () => false,
  );
  if (exists && !force) throw wouldReplace(output);
}

function wouldReplace(output: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_INIT_EXISTS',
    message: `${displayPath(path.resolve(output))} exists`,
    help: 'name another file with --output, or replace it with --force',
  });
}

/**
 * Writes a config; returns what to say of it, line by line.
 *
 * @throws LockstepError for data that cannot be trained on; nothing is written then
 */
export async function writeDraft(
  found: FoundData,
  { output, force, ...options }: InitOptions,
): Promise<string[]> {
  const directory = path.dirname(path.resolve(output));
  const draft = draftConfig(found, { ...options, directory });
  const { numParameters, warnings } = await check(draft, directory, output);
  try {
    if (!force) await requireFree(output, force);
    await writeFileDurably(output, draft.text);
  } catch (error) {
    throw systemErrorCode(error) === undefined || error instanceof LockstepError
      ? error
      : cannotWrite(output, error);
  }
  const toLookAt = [...draft.warnings, ...warnings];
  const lines = draft.choices.map(([word, text]) => {
    const size = word === 'model' ? `: ${countOf(numParameters, 'parameter')}` : '';
    return `${word.padEnd(WORD_WIDTH)}${text}${size}`;
  });
  for (const warning of toLookAt.slice(0, MAX_WARNINGS))
    lines.push(`${'look at'.padEnd(WORD_WIDTH)}${warning}`);
  if (toLookAt.length > MAX_WARNINGS)
    lines.push(`${''.padEnd(WORD_WIDTH)}and ${toLookAt.length - MAX_WARNINGS} more: see lockstep inspect`);
  return [summarizeData(found), ...lines];
}

/** Loads the data by the draft, as training will. */
async function check(
  { text }: DraftConfig,
  directory: string,
  output: string,
): Promise<{ numParameters: number; warnings: string[] }> {
  const validation = validateConfig(parseConfigText(text, output).value);
  if ('findings' in validation) {
    throw new Error(`init drafted an invalid config: ${validation.findings[0]?.message ?? ''}\n${text}`);
  }
  const warnings: string[] = [];
  const config = resolveConfigPaths(validation.config, directory);
  const { model } = await prepareRun(config, (warning) => warnings.push(warning), {});
  return { numParameters: model.numParameters, warnings };
}
