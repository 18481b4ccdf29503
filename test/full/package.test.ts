// The package as npm packs and installs it.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, inject, it } from 'vitest';
import { ROOT } from '../helpers/cli.ts';
import { installedFile, runInstalled } from '../helpers/example-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const MAX_MEGABYTES = 80;

/** Bytes of all files below a folder. */
function sizeOf(folder: string): number {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, name }) => sum + fs.statSync(path.join(parentPath, name)).size, 0);
}

it.each([
  ['publint', ['publint/src/cli.js', '--strict']],
  ['attw', ['@arethetypeswrong/cli/dist/index.js', '--profile', 'esm-only']],
])('%s finds no fault in the package', (_, [program = '', ...flags]) => {
  const args = [path.join(ROOT, 'node_modules', program), ...flags, inject('tarball')];
  expect(() =>
    execFileSync(process.execPath, args, { encoding: 'utf8', cwd: temporaryDirectory() }),
  ).not.toThrow();
});

it('the package installs without a warning, except for the optional native part of msgpackr', () => {
  const lines = inject('installOutput').split('\n');
  expect(lines.filter((line) => /^added \d+ packages in \d+m?s$/.test(line))).toHaveLength(1);
  // Without the script, msgpackr works without that part; npm 11 names scripts that it does not run.
  const scripts = lines.filter((line) => /\(install: /.test(line));
  for (const line of scripts) expect(line).toContain('msgpackr-extract@');
  expect(lines.filter((line) => /warn|error/i.test(line) && !line.includes('install-scripts'))).toEqual([]);
});

it(`the package and all that it needs take less than ${MAX_MEGABYTES} MB`, () => {
  expect(sizeOf(path.join(inject('project'), 'node_modules'))).toBeLessThan(MAX_MEGABYTES * 1e6);
});

it('the package has no sources, tests or source maps', () => {
  const folders = fs.readdirSync(installedFile('')).sort();
  expect(folders).toEqual([
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'LICENSE',
    'README.md',
    'bench',
    'deploy',
    'dist',
    'docs',
    'examples',
    'package.json',
  ]);
  const files = fs.readdirSync(installedFile('dist'), { recursive: true, encoding: 'utf8' });
  expect(files.filter((name) => /\.map$|(?<!\.d)\.ts$/.test(name))).toEqual([]);
});

it('a file that takes an optional package names the command that installs it', async () => {
  const cwd = temporaryDirectory();
  // What an Arrow file begins with.
  fs.writeFileSync(path.join(cwd, 'table.arrow'), 'ARROW1\0\0');
  const { exitCode, stderr } = await runInstalled(['inspect', 'table.arrow'], { cwd });
  expect(exitCode).toBe(2);
  expect(stderr).toBe(
    'error[E_ARROW_READER]: Arrow files are read by apache-arrow, which is not installed\n' +
      '  help: install it beside lockstep: npm install apache-arrow@21.2.0\n',
  );
});

it('the installed package gives the known answer', async () => {
  const { exitCode, stdout } = await runInstalled(['doctor'], { cwd: temporaryDirectory() });
  expect(stdout).toMatch(/^ok {6}kernels {7}give the known answer$/m);
  expect(exitCode).toBe(0);
});
