// Runs a program of a package that depends on this one, as it is built.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from './cli.ts';

/** Runs `text` in `cwd`, and returns its stdout. */
export async function runProgram(text: string, cwd: string): Promise<string> {
  fs.mkdirSync(path.join(cwd, 'node_modules'));
  fs.symlinkSync(ROOT, path.join(cwd, 'node_modules/lockstep'), 'dir');
  fs.writeFileSync(path.join(cwd, 'program.mjs'), text);
  const { stdout } = await promisify(execFile)(process.execPath, ['program.mjs'], { cwd });
  return stdout;
}
