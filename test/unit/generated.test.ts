// What tools generate is what its sources say, and stays out of git.
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '../..');
/** The kernels and the compiler's bindings, which type them. */
const PRODUCTS = ['kernels.wasm', 'kernels.js', 'kernels.d.ts'];

function compileKernels(directory: string): void {
  const compiler = path.join(ROOT, 'node_modules/assemblyscript/bin/asc.js');
  const outFile = path.join(directory, 'kernels.wasm');
  execFileSync(
    process.execPath,
    [compiler, 'assembly/index.ts', '--target', 'strict', '--outFile', outFile],
    {
      cwd: ROOT,
    },
  );
}

it('dist has the kernels that assembly/ compiles to, byte for byte', { timeout: 120_000 }, () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-kernels-'));
  onTestFinished(() => fs.rmSync(directory, { recursive: true }));
  compileKernels(directory);
  const stale = PRODUCTS.filter((name) => {
    const built = fs.readFileSync(path.join(ROOT, 'dist', name));
    return !built.equals(fs.readFileSync(path.join(directory, name)));
  });
  expect(stale, 'stale; npm run build makes them anew').toEqual([]);
});

it('git has no build products', () => {
  expect(fs.readFileSync(path.join(ROOT, '.gitignore'), 'utf8').split('\n')).toContain('dist/');
  // Prints nothing where there is no git or no repository, as in an unpacked archive: then nothing is committed.
  const tracked = spawnSync('git', ['-c', 'safe.directory=*', 'ls-files', 'dist'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  expect(tracked.stdout ?? '').toBe('');
});
