// Log lines whose number other machines decide.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger, LimitedLog } from '../../../src/log.ts';
import { Screen } from '../../../src/screen.ts';
import { FakeTerminal } from '../../helpers/text-stream.ts';

const JOINED = 'workers that joined';
const LEFT = 'workers that left';

let terminal: FakeTerminal;

beforeEach(() => {
  vi.useFakeTimers();
  terminal = new FakeTerminal({ isTTY: false });
});
afterEach(() => {
  vi.useRealTimers();
});

function open(onLeftOut?: (counts: ReadonlyMap<string, number>) => void): LimitedLog {
  return new LimitedLog(createLogger({ screen: new Screen(terminal) }), onLeftOut);
}

test('the first 64 lines of a kind are written, then one a second, and the others are summed up every 10 s', () => {
  const counted: object[] = [];
  const log = open((counts) => counted.push(Object.fromEntries(counts)));
  // Ten of each kind a second, for 20 s.
  for (let tenth = 0; tenth < 200; tenth++) {
    log.write('info', JOINED, `worker ${tenth} joined`);
    log.write('warn', LEFT, `worker ${tenth} left`);
    vi.advanceTimersByTime(100);
  }
  const numJoined = terminal.lines.filter((line) => line.endsWith(' joined')).length;
  expect(numJoined).toBeGreaterThanOrEqual(64 + 18);
  expect(numJoined).toBeLessThanOrEqual(64 + 20);
  log.flush();
  const summaries = terminal.lines.filter((line) => line.includes('too many'));
  expect(summaries.length).toBeLessThanOrEqual(3);
  expect(summaries[0]).toMatch(
    /WARN: too many to be logged one by one, since the last such line: \d+ workers that joined, \d+ workers that left$/,
  );
  const total = counted.reduce<number>((sum, counts) => sum + (counts as Record<string, number>)[JOINED]!, 0);
  expect(numJoined + total).toBe(200);
});

test('a kind that floods the log does not suppress lines of other kinds', () => {
  const log = open();
  for (let line = 0; line < 1000; line++)
    log.write('warn', 'tasks that workers failed on', `failure ${line}`);
  expect(log.write('warn', LEFT, 'worker 3 left')).toBe(true);
});

test('a log that left nothing out writes no summary', () => {
  const log = open();
  log.write('info', JOINED, 'worker 1 joined');
  vi.advanceTimersByTime(60_000);
  log.flush();
  expect(terminal.lines).toHaveLength(1);
});
