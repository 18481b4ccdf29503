// What the command line loads before it knows its command: every module more makes `--version`, `--help`
// and the completion of words slower.
import path from 'node:path';
import { expect, it } from 'vitest';
import { ROOT, runCli } from '../helpers/cli.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const ON_IMPORT = `
  import { writeSync } from 'node:fs';
  export async function resolve(specifier, context, next) {
    const resolved = await next(specifier, context);
    if (resolved.url.startsWith('file:')) writeSync(2, resolved.url + '\\n');
    return resolved;
  }`;
const asUrl = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`;
const PRELOADED = asUrl(
  `import { register } from 'node:module'; register(${JSON.stringify(asUrl(ON_IMPORT))});`,
);

const LOADED = [
  'dist/bin/endings.js',
  'dist/bin/lockstep.js',
  'dist/bin/syntax-bench.js',
  'dist/bin/syntax-cluster.js',
  'dist/bin/syntax-first.js',
  'dist/bin/syntax-options.js',
  'dist/bin/syntax-results.js',
  'dist/bin/syntax-training.js',
  'dist/coordinator/output/results.js',
  'dist/kernels-strict.js',
  'dist/src/durable-write.js',
  'dist/src/errors.js',
  'dist/src/failpoint.js',
  'dist/src/json.js',
  'dist/src/kernels/kernels.js',
  'dist/src/limits.js',
  'dist/src/printable.js',
  'dist/src/regular-file.js',
  'dist/src/screen.js',
  'dist/src/version.js',
  'node_modules/commander/esm.mjs',
  'node_modules/commander/index.js',
];

/** Files that a command loads, in the package. */
async function loadedBy(...args: readonly string[]): Promise<string[]> {
  const node = [process.execPath, '--import', PRELOADED];
  const { exitCode, stderr } = await runCli(args, { cwd: temporaryDirectory(), node });
  expect(exitCode).toBe(0);
  const files = stderr
    .trimEnd()
    .split('\n')
    .map((url) => path.relative(ROOT, new URL(url).pathname));
  return [...new Set(files)].sort();
}

it.each(['--version', '--help'])('lockstep %s loads the parser and nothing that trains', async (flag) => {
  expect(await loadedBy(flag)).toEqual(LOADED);
});
