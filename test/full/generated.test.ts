// The kernels in dist/ are those that their sources give: compiling them takes longer than `npm test` may.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { NUMERICS } from '../../src/kernels/kernels.ts';
import type { Numerics } from '../../src/kernels/kernels.ts';
import { ROOT } from '../helpers/cli.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

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
