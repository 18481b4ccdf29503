// Generated files agree with their sources, and stay out of git.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { Numerics } from '../../src/kernels/kernels.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');

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
