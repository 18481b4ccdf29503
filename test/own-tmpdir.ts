// Gives the tests their own directory for temporary files, and fails when something is left in it: a test,
// or a process that it started, did not clean up.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

export function setup(): () => void {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-tests-'));
  process.env['TMPDIR'] = directory;
  return () => {
    const left = fs.readdirSync(directory);
    fs.rmSync(directory, { recursive: true });
    if (left.length === 0) return;
    // An error that is thrown here does not fail a run of vitest.
    console.error(`FAIL  temporary files left behind: ${left.join(', ')}`);
    process.exitCode = 1;
  };
}
