// A temporary directory to load config files from, removed when the test is over.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ConfigOrigin, loadConfig, type LoadedConfig } from '../../src/config/load.ts';
import { formatError, LockstepError } from '../../src/errors.ts';
import { temporaryDirectory } from './temporary-directory.ts';

/** A fresh directory with the given files. */
export async function configDirectory(files: Readonly<Record<string, string | Uint8Array>>): Promise<string> {
  const directory = temporaryDirectory();
  for (const [name, content] of Object.entries(files)) await writeFile(join(directory, name), content);
  return directory;
}

/** Loads `content` as `name`; the environment is empty unless given. */
export async function loadText(
  content: string | Uint8Array,
  origin: Partial<ConfigOrigin> = {},
  name = 'house.yaml',
): Promise<LoadedConfig> {
  const cwd = await configDirectory({ [name]: content });
  return loadConfig({ path: name, env: {}, cwd, ...origin });
}

/** The text that a user would read; fails the test if nothing is thrown. */
export async function errorText(loading: Promise<unknown>): Promise<string> {
  const error = await loading.then(
    () => new Error('nothing was thrown'),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof LockstepError)) throw error;
  return formatError(error);
}
