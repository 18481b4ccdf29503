// The text examples, as a user would train them. Minutes of work, so they have a tier of their own.
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Summary } from '../../coordinator/output/summary.ts';
import { CliProcess, ROOT } from '../helpers/cli.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const DEADLINE_MS = 1_200_000;

test.each([
  ['the causal transformer', 'text.yaml'],
  ['the LSTM', 'text-lstm.yaml'],
])(
  '%s reaches less than 2.0 nats per byte on text that it never saw',
  async (_, name) => {
    const config = path.join(ROOT, 'examples/text', name);
    const cwd = temporaryDirectory();
    const command = CliProcess.start(['train', config, '--json'], {
      cwd,
      deadlineMs: DEADLINE_MS,
    });
    const { exitCode, stdout, stderr } = await command.finished;
    expect(exitCode, stderr).toBe(0);
    const { test: tested, samplesSeen } = JSON.parse(stdout) as Summary;
    expect(samplesSeen).toBe(2 * 15_686);
    expect(tested?.loss).toBeLessThan(2);
  },
  DEADLINE_MS,
);
