import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createProgress, type EpochProgress } from '../../../../coordinator/output/progress.ts';
import { formatClock, formatDuration, formatMetric } from '../../../../src/printable.ts';
import { createLogger, Screen } from '../../../../src/log.ts';
import { FakeTerminal } from '../../../helpers/text-stream.ts';

const EPOCH: EpochProgress = {
  epoch: 3,
  metrics: { 'train/loss': 0.21341, 'val/loss': 0.241, 'val/rmse': 25_123.4 },
  samplesPerSecond: 12_345.4,
  workers: 2,
};
const EPOCH_LINE =
  'epoch  3/30  train/loss 0.2134  val/loss 0.2410  val/rmse 25,123  12,345 samples/s  2 workers';

test('off a terminal each epoch prints one plain line, and a step prints nothing', () => {
  const terminal = new FakeTerminal({ isTTY: false });
  const progress = createProgress(new Screen(terminal), { epochs: 30, steps: 300 });
  progress.stepDone({ epoch: 3, step: 30, loss: 0.2, samplesPerSecond: 1, workers: 2 });
  progress.epochDone(EPOCH);
  progress.note('waiting for workers');
  progress.close();
  expect(terminal.written).toBe(`${EPOCH_LINE}\nwaiting for workers\n`);
});

test.each([
  [
    120,
    /^epoch 16\/30 {2}█+░+ {2}step 1,185\/2,370 {2}loss 0\.2134 {2}12,345 samples\/s {2}1 worker {2}ETA [\d:]+$/,
  ],
  [80, /^epoch 16\/30 {2}█+░+ {2}1,185\/2,370 {2}loss 0\.2134 {2}12,345\/s {2}1 worker {2}ETA [\d:]+$/],
  [40, /^epoch 16\/30 {2}1,185\/2,370 {2}loss 0\.2134$/],
])('on a terminal of %d columns a bar shows the progress of the run', async (columns, expected) => {
  const terminal = new FakeTerminal({ isTTY: true, columns });
  const progress = createProgress(new Screen(terminal), { epochs: 30, steps: 2370 });
  await delay(20);
  progress.stepDone({ epoch: 16, step: 1185, loss: 0.21341, samplesPerSecond: 12_345, workers: 1 });
  await delay(250);
  const bar = terminal.lines.at(-1);
  progress.close();
  expect(bar.trimEnd()).toMatch(expected);
  expect(bar.length).toBeLessThan(columns);
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

test.each([
  [0.21341, '0.2134'],
  [9999.96, '10,000'],
  [1_234_567, '1,234,567'],
  [0.0000123, '1.230e-5'],
  [-3.5, '-3.500'],
  [Number.NaN, 'NaN'],
])('a metric of %d is shown as %s', (value, text) => {
  expect(formatMetric(value)).toBe(text);
});

test.each([
  [4.21, '4.2 s'],
  [59.96, '1 m 00 s'],
  [65, '1 m 05 s'],
  [7380, '2 h 03 m'],
])('a duration of %d seconds is shown as %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

test.each([
  [4, '0:04'],
  [65.4, '1:05'],
  [7380, '2:03:00'],
])('a remaining time of %d seconds is shown as %s', (seconds, text) => {
  expect(formatClock(seconds)).toBe(text);
});
