// Commands whose stdout cannot be written or is no longer read.
import { spawnSync } from 'node:child_process';
import type { SpawnSyncReturns } from 'node:child_process';
import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { PROGRAM, runCli } from '../helpers/cli.ts';
import { tableRun } from '../helpers/table-run.ts';

describe('stdout', () => {
  /** Runs a command whose stdout is a redirection of the shell's, such as `> FILE`. */
  function runInto(redirection: string, args: readonly string[], cwd: string): SpawnSyncReturns<string> {
    const command = `"$@" ${redirection}`;
    return spawnSync('bash', ['-o', 'pipefail', '-c', command, 'bash', process.execPath, PROGRAM, ...args], {
      cwd,
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], LOCKSTEP_LOG_LEVEL: 'warn' },
    });
  }

  it.skipIf(!fs.existsSync('/dev/full'))(
    'a command reports a stdout that cannot be written, but not one whose reader has left',
    async () => {
      const cwd = tableRun();
      const trained = await runCli(['train', 'table.yaml', '--workers', '0', '--run-dir', 'run'], { cwd });
      expect(trained).toMatchObject({ exitCode: 0 });
      const commands = [
        ['train', 'table.yaml', '--print-config'],
        ['evaluate', 'run', '--json'],
        ['--version'],
      ];
      for (const args of commands) {
        const full = runInto('> /dev/full', args, cwd);
        expect({ args, status: full.status }).toEqual({ args, status: 1 });
        expect(full.stderr).toMatch(
          /(^|\n)error\[E_OUTPUT\]: cannot write to stdout: no space left\n {2}help: [^\n]+\n$/,
        );
        const left = runInto('| true', args, cwd);
        expect({ args, status: left.status }).toEqual({ args, status: 0 });
        expect(left.stderr).not.toMatch(/error|EPIPE/i);
      }
    },
  );
});
