import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger, LogFile } from '../../../src/log.ts';
import { Screen } from '../../../src/screen.ts';
import { FakeTerminal } from '../../helpers/text-stream.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';

let directory: string;

beforeEach(() => {
  directory = temporaryDirectory();
});
afterEach(() => {
  vi.unstubAllEnvs();
});

test('a line has the time, the level, the message and its fields', () => {
  const terminal = new FakeTerminal({ isTTY: false });
  const logger = createLogger({ screen: new Screen(terminal) });
  logger.child({ worker: 3 }).warn({ ms: 12 }, 'late');
  expect(terminal.written).toMatch(/^\[\d\d:\d\d:\d\d\] WARN: late \{"worker":3,"ms":12\}\n$/);
});

test('lines are coloured only on a terminal, and NO_COLOR turns colours off', () => {
  const colored = (isTTY: boolean): boolean => {
    const terminal = new FakeTerminal({ isTTY });
    createLogger({ screen: new Screen(terminal) }).info('hello');
    return terminal.written.includes('\x1b[3');
  };
  vi.stubEnv('NO_COLOR', '');
  expect([colored(true), colored(false)]).toEqual([true, false]);
  vi.stubEnv('NO_COLOR', '1');
  expect(colored(true)).toBe(false);
});

test('lines are broken at words on a terminal, and stay whole elsewhere', () => {
  const written = (isTTY: boolean): string => {
    const terminal = new FakeTerminal({ isTTY, columns: 40 });
    createLogger({ screen: new Screen(terminal) }).info('the disk is full, and 3 records are lost');
    return terminal.written;
  };
  vi.stubEnv('NO_COLOR', '1');
  expect(written(true).slice('[12:00:00] '.length)).toBe(
    'INFO: the disk is full, and 3\n    records are lost\n',
  );
  expect(written(false)).toMatch(/^\S+ INFO: the disk is full, and 3 records are lost\n$/);
});

test('a terminal that does not know its width has 80 columns', () => {
  expect(new Screen(new FakeTerminal({ isTTY: true, columns: 0 })).columns).toBe(80);
});

test('lines below the level are dropped', () => {
  const terminal = new FakeTerminal({ isTTY: false });
  createLogger({ level: 'warn', screen: new Screen(terminal) }).info('hello');
  expect(terminal.written).toBe('');
});

test('the file gets every line as JSON, including those logged before it was opened', () => {
  const file = new LogFile();
  const logger = createLogger({ screen: new Screen(new FakeTerminal({ isTTY: false })), file });
  logger.info('before');
  file.open(path.join(directory, 'output.log'));
  logger.child({ worker: 3 }).error('after');
  // Nothing is closed or awaited first: a logged line is already on disk.
  const lines = fs.readFileSync(path.join(directory, 'output.log'), 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    { level: 'info', time: expect.stringMatching(/^\d{4}-.+Z$/) as string, msg: 'before' },
    { level: 'error', time: expect.stringMatching(/^\d{4}-.+Z$/) as string, worker: 3, msg: 'after' },
  ]);
  file.close();
});

test.skipIf(!fs.existsSync('/dev/full'))(
  'a full disk loses lines of the file with a single notice, and logging continues',
  () => {
    const terminal = new FakeTerminal({ isTTY: false });
    const file = new LogFile();
    const logger = createLogger({ screen: new Screen(terminal), file });
    file.open('/dev/full');
    logger.info('one');
    logger.info('two');
    expect(terminal.lines).toEqual([
      expect.stringContaining('INFO: one'),
      'the log file is losing lines, but the run continues: Error: ENOSPC: no space left on device, write',
      expect.stringContaining('INFO: two'),
    ]);
  },
);

test('the file has every line for which there was room, each of them whole', () => {
  const file = new LogFile();
  const name = path.join(directory, 'output.log');
  file.open(name);
  file.write('one\n');
  const write = fs.writeSync;
  // The disk has room for two more bytes.
  const full = vi.spyOn(fs, 'writeSync').mockImplementationOnce((descriptor) => write(descriptor, 'tw'));
  full.mockImplementation(() => {
    throw new Error('ENOSPC');
  });
  expect(() => file.write('two\n')).toThrow('ENOSPC');
  expect(() => file.write('three\n')).not.toThrow();
  full.mockRestore();
  file.write('four\n');
  file.close();
  expect(fs.readFileSync(name, 'utf8')).toBe('one\nfour\n');
});

test('a log line clears an unfinished status line first', () => {
  const terminal = new FakeTerminal({ isTTY: true });
  const screen = new Screen(terminal);
  screen.drawStatus('step 1/2');
  screen.write('joined\n');
  screen.drawStatus('step 2/2');
  expect(terminal.lines).toEqual(['joined', 'step 2/2']);
});

test('lines that nobody reads are counted instead of kept', () => {
  const terminal = new FakeTerminal({ isTTY: false });
  const screen = new Screen(terminal);
  screen.write('one\n');
  terminal.writableLength = 2 ** 20 + 1;
  screen.write('two\n');
  screen.write('three\nfour\n');
  terminal.writableLength = 2 ** 20;
  screen.write('five\n');
  screen.write('six\n');
  expect(terminal.lines).toEqual(['one', '3 lines are missing here: stderr was not read', 'five', 'six']);
});
