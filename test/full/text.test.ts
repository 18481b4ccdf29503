// The text example, as a user would train it. Minutes of work, so it has a tier of its own.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Summary } from '../../coordinator/output/summary.ts';
import { CliProcess, ROOT } from '../helpers/cli.ts';

const CONFIG = path.join(ROOT, 'examples/text/text.yaml');
const DEADLINE_MS = 1_200_000;

test(
  'the causal transformer comes below 2.0 nats a byte on text that it never saw',
  async () => {
    const cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-text-'));
    onTestFinished(() => fs.rmSync(cwd, { recursive: true }));
    const command = CliProcess.start(['train', CONFIG, '--workers', '2', '--json'], {
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
