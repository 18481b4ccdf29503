// Generated files agree with their sources, and stay out of git.
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { NUMERICS } from '../../src/kernels/kernels.ts';
import type { Numerics } from '../../src/kernels/kernels.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
/** The kernels and the compiler's bindings, which type them. */
const productsOf = (target: Numerics): string[] =>
  ['wasm', 'js', 'd.ts'].map((extension) => `kernels-${target}.${extension}`);

function compileKernels(target: Numerics, directory: string): void {
  const compiler = path.join(ROOT, 'node_modules/assemblyscript/bin/asc.js');
  const outFile = path.join(directory, `kernels-${target}.wasm`);
  execFileSync(process.execPath, [compiler, 'assembly/index.ts', '--target', target, '--outFile', outFile], {
    cwd: ROOT,
  });
}

it.each(NUMERICS)(
  'dist has the %s kernels that assembly/ compiles to, byte for byte',
  { timeout: 120_000 },
  (target) => {
    const directory = temporaryDirectory();
    compileKernels(target, directory);
    const stale = productsOf(target).filter((name) => {
      const built = fs.readFileSync(path.join(ROOT, 'dist', name));
      return !built.equals(fs.readFileSync(path.join(directory, name)));
    });
    expect(stale, 'stale; npm run build makes them anew').toEqual([]);
  },
);

it('both builds have the interface of the strict one, which types them', () => {
  const interfaceOf = (target: Numerics): string =>
    fs.readFileSync(path.join(ROOT, 'dist', `kernels-${target}.d.ts`), 'utf8');
  expect(interfaceOf('fused')).toBe(interfaceOf('strict'));
});

it('git tracks no build products', () => {
  expect(fs.readFileSync(path.join(ROOT, '.gitignore'), 'utf8').split('\n')).toContain('dist/');
  // Prints nothing without git or a repository, as in an unpacked archive: then nothing is committed.
  const tracked = spawnSync('git', ['-c', 'safe.directory=*', 'ls-files', 'dist'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  expect(tracked.stdout ?? '').toBe('');
});
