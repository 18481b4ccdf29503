import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createProgress, type EpochProgress } from '../../../../coordinator/output/progress.ts';
import { createLogger } from '../../../../src/log.ts';
import { Screen } from '../../../../src/screen.ts';
import { FakeTerminal } from '../../../helpers/text-stream.ts';

const EPOCH: EpochProgress = {
  epoch: 3,
  metrics: { 'train/loss': 0.21341, 'val/loss': 0.241, 'val/rmse': 25_123.4 },
  samplesPerSecond: 12_345.4,
  workers: 2,
};
const EPOCH_LINE =
  'epoch  3/30  train/loss 0.2134  val/loss 0.2410  val/rmse 25,123  12k samples/s  2 workers';

beforeEach(() => {
  vi.stubEnv('CI', '');
  vi.stubEnv('TERM', 'xterm');
});
afterEach(() => {
  vi.unstubAllEnvs();
});

/** Progress off a terminal, and a clock that the test sets. */
function linesOf(size: { epochs: number; steps: number; stepsDone?: number }, columns = 80) {
  const terminal = new FakeTerminal({ isTTY: false, columns });
  const clock = { seconds: 0 };
  const nowMs = (): number => 1000 * clock.seconds;
  const progress = createProgress(new Screen(terminal), { ...size, nowMs });
  const stepAt = (seconds: number, step: number): void => {
    clock.seconds = seconds;
    progress.stepDone({ epoch: 3, step, loss: 0.21341, samplesPerSecond: 41_234, workers: 2 });
  };
  return { terminal, clock, progress, stepAt };
}

test('off a terminal each epoch prints one plain line, and a step of a short epoch prints nothing', () => {
  const { terminal, progress, stepAt, clock } = linesOf({ epochs: 30, steps: 300 }, 100);
  stepAt(0, 30);
  stepAt(9.9, 31);
  clock.seconds = 9.95;
  progress.epochDone(EPOCH);
  stepAt(19.9, 32);
  progress.note('waiting for workers');
  progress.close();
  expect(terminal.written).toBe(`${EPOCH_LINE}\nwaiting for workers\n`);
});

test('off a terminal a long epoch prints a line every ten seconds, with the time left', () => {
  const { terminal, stepAt } = linesOf({ epochs: 30, steps: 300 });
  for (let step = 1; step <= 50; step++) stepAt(step, step);
  expect(terminal.lines).toEqual([
    'epoch 3/30  step 10/300  3 %  loss 0.2134  41k samples/s  4 min 50 s left',
    'epoch 3/30  step 20/300  6 %  loss 0.2134  41k samples/s  4 min 40 s left',
    'epoch 3/30  step 30/300  10 %  loss 0.2134  41k samples/s  4 min 30 s left',
    'epoch 3/30  step 40/300  13 %  loss 0.2134  41k samples/s  4 min 20 s left',
    'epoch 3/30  step 50/300  16 %  loss 0.2134  41k samples/s  4 min 10 s left',
  ]);
});

test('a step that takes long prints a line of its own, and the first one knows no time left', () => {
  const { terminal, stepAt } = linesOf({ epochs: 1, steps: 4 });
  for (const step of [1, 2, 3, 4]) stepAt(90 * step, step);
  expect(terminal.lines).toEqual([
    'epoch 3/1  step 1/4  25 %  loss 0.2134  41k samples/s  2 workers',
    'epoch 3/1  step 2/4  50 %  loss 0.2134  41k samples/s  2 workers  3 min 0 s left',
    'epoch 3/1  step 3/4  75 %  loss 0.2134  41k samples/s  1 min 30 s left',
    'epoch 3/1  step 4/4  100 %  loss 0.2134  41k samples/s  2 workers  0 s left',
  ]);
});

test('the time left is estimated anew where a run goes back, and not from steps of before a resume', () => {
  const { terminal, stepAt } = linesOf({ epochs: 1, steps: 1000, stepsDone: 500 });
  stepAt(0, 501);
  stepAt(10, 502);
  stepAt(1000, 501);
  stepAt(1020, 502);
  expect(terminal.lines.map((line) => line.split('  ').at(-1))).toEqual([
    '1 h 23 min left',
    '2 workers',
    '2 h 46 min left',
  ]);
});

test.each([
  [
    120,
    'train/loss 0.2134  val/loss 0.2410  val/r2 0.8100  val/transformed/r2 0.8300  12k samples/s  64 workers',
  ],
  [100, 'train/loss 0.2134  val/loss 0.2410  val/r2 0.8100  val/transformed/r2 0.8300  12k/s'],
  [80, 'train/loss 0.2134  val/loss 0.2410  val/r2 0.8100  12k samples/s'],
  [60, 'train/loss 0.2134  val/loss 0.2410  12k/s'],
  [40, 'train/loss 0.2134  val/loss 0.2410'],
])('the line of an epoch has the most important values that fit %d columns', (columns, rest) => {
  const { terminal, progress } = linesOf({ epochs: 30, steps: 300 }, columns);
  const metrics = {
    'train/loss': 0.21341,
    'val/loss': 0.241,
    'val/r2': 0.81,
    'val/transformed/r2': 0.83,
  };
  progress.epochDone({ epoch: 30, metrics, samplesPerSecond: 12_345, workers: 64 });
  expect(terminal.written).toBe(`epoch 30/30  ${rest}\n`);
});

test.each([
  [
    120,
    /^epoch 16\/30 {2}█+░+ {2}step 1,185\/2,370 {2}loss 0\.2134 {2}12k samples\/s {2}1 worker {2}1 min 59 s left$/,
  ],
  [80, /^epoch 16\/30 {2}█+░+ {2}1,185\/2,370 {2}loss 0\.2134 {2}12k\/s {2}1 min 59 s left$/],
  [40, /^epoch 16\/30 {2}1,185\/2,370 {2}loss 0\.2134$/],
])('on a terminal of %d columns a bar shows the progress of the run', async (columns, expected) => {
  const terminal = new FakeTerminal({ isTTY: true, columns });
  const clock = { ms: 0 };
  const size = { epochs: 30, steps: 2370, nowMs: () => clock.ms };
  const progress = createProgress(new Screen(terminal), size);
  const step = { epoch: 16, loss: 0.21341, samplesPerSecond: 12_345, workers: 1 };
  progress.stepDone({ ...step, step: 1 });
  clock.ms = 118_400;
  progress.stepDone({ ...step, step: 1185 });
  await delay(250);
  const bar = terminal.lines.at(-1);
  progress.close();
  expect(bar.trimEnd()).toMatch(expected);
  expect(bar.length).toBeLessThan(columns);
});

test.each([
  ['CI', '1'],
  ['TERM', 'dumb'],
])('a terminal with %s=%s gets lines instead of a bar', (name, value) => {
  vi.stubEnv(name, value);
  const terminal = new FakeTerminal({ isTTY: true });
  const progress = createProgress(new Screen(terminal), { epochs: 30, steps: 300 });
  progress.epochDone(EPOCH);
  progress.close();
  expect(terminal.written).toBe(`${EPOCH_LINE}\n`);
});

test('log and epoch lines are printed above the bar, which is redrawn below them', async () => {
  const terminal = new FakeTerminal({ isTTY: true });
  const screen = new Screen(terminal);
  const progress = createProgress(screen, { epochs: 30, steps: 300 });
  createLogger({ screen }).info('worker 2 joined');
  progress.epochDone(EPOCH);
  await delay(250);
  const lines = terminal.lines;
  progress.close();
  expect(lines).toEqual([
    expect.stringContaining('worker 2 joined'),
    EPOCH_LINE,
    expect.stringMatching(/^epoch 1\/30 {2}░+ {2}step 0\/300$/),
  ]);
});

test('closing removes the bar, restores no cursor position and leaves the cursor as it was', () => {
  const terminal = new FakeTerminal({ isTTY: true });
  const progress = createProgress(new Screen(terminal), { epochs: 1, steps: 10, stepsDone: 4 });
  progress.note('resumed');
  progress.close();
  progress.close();
  expect(terminal.lines).toEqual(['resumed']);
  expect(terminal.written.replaceAll('\r\x1b[K', '')).not.toContain('\x1b');
});
