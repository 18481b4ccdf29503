// Control characters in text that people read: none reaches a terminal, whichever way the text takes.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { JsonlFile } from '../../../src/line-file.ts';
import type { PlotInput } from '../../../coordinator/output/plot-specs.ts';
import { renderPlots } from '../../../coordinator/output/plots.ts';
import { createProgress } from '../../../coordinator/output/progress.ts';
import { printBlocks } from '../../../coordinator/output/results.ts';
import { formatError, LockstepError } from '../../../src/errors.ts';
import { createLogger, LogFile } from '../../../src/log.ts';
import { Screen } from '../../../src/screen.ts';
import {
  fitLine,
  formatDuration,
  formatMetric,
  formatSize,
  printable,
  shellWord,
} from '../../../src/printable.ts';
import { wrapLines } from '../../../src/screen.ts';
import { FakeTerminal } from '../../helpers/text-stream.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';

/**
 * C0 except the line feed, DEL and C1; characters that are invisible or reorder text; and
 * noncharacters of Unicode.
 */
const HOSTILE = [
  ...[range(0x00, 0x09), range(0x0b, 0x1f), range(0x7f, 0x9f)],
  ...[[0xad], [0x61c], [0x180e], range(0x200b, 0x200b), range(0x200e, 0x200f), range(0x2028, 0x202e)],
  ...[range(0x2060, 0x2064), range(0x2066, 0x206f), [0xfeff], range(0xfff9, 0xfffb), [0xe0001]],
  ...[range(0xfdd0, 0xfdef), [0xfffe, 0xffff, 0x1fffe, 0x10ffff]],
].flat();
const HOSTILE_TEXT = `a${String.fromCodePoint(...HOSTILE)}z`;
const RAW = new RegExp(`[${HOSTILE.map((code) => `\\u{${code.toString(16)}}`).join('')}]`, 'u');

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

function expectPrintable(shown: string): void {
  expect(shown).not.toMatch(RAW);
  expect(shown).toContain('\\u001b');
  expect(shown).toContain('\\u202e');
}

describe('printable text', () => {
  it('printable text shows each character that controls a terminal as its escape', () => {
    for (const code of HOSTILE) {
      const character = String.fromCodePoint(code);
      const shown = printable(`a${character}z`);
      expect(shown).toMatch(/^a(\\u[0-9a-f]{4}){1,2}z$/);
      expect(JSON.parse(`"${shown}"`)).toBe(`a${character}z`);
    }
  });

  it('printable text leaves letters, marks, emoji, joiners and our own line feeds unchanged', () => {
    const text =
      'Größe 価格 نمی\u200cخواهم क्\u200dष 👩\u200d🔬 ❤\ufe0f 🏴\u{e0067}\u{e0062}\u{e007f} \u0600١\n  price,€';
    expect(printable(text)).toBe(text);
  });

  it('printable text leaves every character unchanged that is no control, format, separator or noncharacter', () => {
    for (let code = 0x20; code <= 0x10ffff; code += code < 0x3000 ? 1 : 257) {
      const character = String.fromCodePoint(code);
      if (!/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{NChar}]/u.test(character))
        expect(printable(character)).toBe(character);
    }
  });

  it('printable text of JSON is the same JSON', () => {
    const value = { name: HOSTILE_TEXT, 'a\u202eb': ['\\', '"', '\n'] };
    expect(JSON.parse(printable(JSON.stringify(value)))).toEqual(value);
  });
});

describe('text on its way to a terminal', () => {
  it.each([true, false])(
    'whole lines and the status line reach the terminal with control characters escaped (terminal: %s)',
    (isTTY) => {
      const terminal = new FakeTerminal({ isTTY });
      const screen = new Screen(terminal);
      screen.write(`${HOSTILE_TEXT}\n`);
      expectPrintable(terminal.written);
      terminal.written = '';
      screen.drawStatus(HOSTILE_TEXT);
      expectPrintable(terminal.written.replace('\r\x1b[K', ''));
    },
  );

  it('the log escapes control characters, keeps its colours, and writes exact records to its file', () => {
    const terminal = new FakeTerminal({ isTTY: true });
    const file = new LogFile();
    const name = path.join(temporaryDirectory(), 'output.log');
    file.open(name);
    const log = createLogger({ screen: new Screen(terminal), file });
    const error = new Error(HOSTILE_TEXT);
    log.warn({ column: HOSTILE_TEXT, [HOSTILE_TEXT]: [{ deep: HOSTILE_TEXT }], err: error }, HOSTILE_TEXT);
    // eslint-disable-next-line no-control-regex -- the styles of the log itself
    expectPrintable(terminal.written.replace(/\x1b\[\d+m/g, ''));
    const text = fs.readFileSync(name, 'utf8');
    expectPrintable(text);
    expect(JSON.parse(text)).toMatchObject({ msg: HOSTILE_TEXT, column: HOSTILE_TEXT });
    file.close();
  });

  it('later lines of a message cannot pass for records of the log', () => {
    const terminal = new FakeTerminal({ isTTY: false });
    createLogger({ screen: new Screen(terminal) }).warn('lost: bye\n[00:00:00] ERROR: forged');
    expect(terminal.lines).toEqual([
      expect.stringMatching(/WARN: lost: bye$/) as string,
      '    [00:00:00] ERROR: forged',
    ]);
  });

  it('only our own lines of an error begin at the margin', () => {
    const error = new LockstepError({
      category: 'data',
      code: 'E_DATA_COLUMNS',
      message: 'columns: a, b\nERROR: forged\n\r  help: forged\n      deep',
      location: { file: 'x\n--> y.csv', line: 1 },
      help: 'rename\n  help: forged',
    });
    expect(printable(formatError(error)).split('\n')).toEqual([
      'error[E_DATA_COLUMNS]: columns: a, b',
      '    ERROR: forged',
      '    \\u000d  help: forged',
      '      deep',
      '  --> x',
      '    --> y.csv:1',
      '  help: rename',
      '    help: forged',
    ]);
  });

  it('data are escaped on a terminal, and written unchanged to pipes and files', async () => {
    const { isTTY, write } = process.stdout;
    onTestFinished(() => void Object.assign(process.stdout, { isTTY, write }));
    let written = '';
    process.stdout.write = ((block: string, done: () => void) => {
      written += block;
      done();
    }) as typeof write;
    process.stdout.isTTY = true;
    await printBlocks([`class\n${HOSTILE_TEXT}\n`]);
    expectPrintable(written);
    written = '';
    process.stdout.isTTY = false;
    await printBlocks([`class\n${HOSTILE_TEXT}\n`]);
    expect(written).toBe(`class\n${HOSTILE_TEXT}\n`);
  });

  it.each([true, false])('progress is shown with control characters escaped (terminal: %s)', (isTTY) => {
    const terminal = new FakeTerminal({ isTTY });
    const progress = createProgress(new Screen(terminal), { epochs: 1, steps: 1 });
    progress.note(HOSTILE_TEXT);
    progress.epochDone({ epoch: 1, metrics: { [HOSTILE_TEXT]: 1 }, samplesPerSecond: 1, workers: 1 });
    progress.close();
    expectPrintable(terminal.written.replaceAll('\r\x1b[K', ''));
  });

  it('records are written with control characters escaped, because they are watched as they grow', () => {
    const name = path.join(temporaryDirectory(), 'events.jsonl');
    const file = new JsonlFile(name);
    file.append({ reason: HOSTILE_TEXT });
    file.close();
    const text = fs.readFileSync(name, 'utf8');
    expectPrintable(text);
    expect(JSON.parse(text)).toEqual({ reason: HOSTILE_TEXT });
  });

  it('the text of plots has control characters escaped', async () => {
    const directory = temporaryDirectory();
    const program = path.join(directory, 'draws-nothing.js');
    fs.writeFileSync(program, '');
    const counts = [
      [1, 0],
      [0, 1],
    ];
    const classes = [HOSTILE_TEXT, 'other'];
    const plot: PlotInput = { kind: 'confusion', split: 'test', classes, counts, accuracy: 1 };
    await renderPlots(directory, [plot], { warn: (message) => expect.fail(message), program });
    const [file = ''] = fs.readdirSync(directory).filter((name) => name.endsWith('.vl.json'));
    const drawn = JSON.stringify(JSON.parse(fs.readFileSync(path.join(directory, file), 'utf8')));
    expect(drawn).not.toMatch(RAW);
    expect(drawn).toContain('\\\\u001b');
  });
});

describe.skipIf(process.platform === 'win32')('shellWord', () => {
  it.each(["sp 4's $(touch pwn).csv", 'a;b.csv', '`id`', '"x"', '*', '~', 'größe', '#a', 'a\nb', ''])(
    'a file name in a suggested command is one word to a shell, and still that name: %j',
    (name) => {
      const shown = execFileSync('sh', ['-c', `printf '%s|' ${shellWord(name)}`], { encoding: 'utf8' });
      expect(shown).toBe(`${name}|`);
    },
  );

  it('a file name stays unquoted if a shell reads it unchanged, and never becomes an option', () => {
    expect(['data/a-1.csv', '/tmp/b_2.csv.gz', '-rf'].map(shellWord)).toEqual([
      'data/a-1.csv',
      '/tmp/b_2.csv.gz',
      './-rf',
    ]);
  });
});

it.each([
  [0.21341, '0.2134'],
  [9999.96, '10,000'],
  [1_234_567, '1,234,567'],
  [0.0000123, '1.230e-5'],
  [-3.5, '-3.500'],
  [Number.NaN, 'NaN'],
])('a metric of %d is shown as %s', (value, text) => {
  expect(formatMetric(value)).toBe(text);
});

it.each([
  [0.0234, '0.02 s'],
  [4, '4 s'],
  [4.21, '4.2 s'],
  [9.96, '10 s'],
  [59.96, '1 min 0 s'],
  [200, '3 min 20 s'],
  [7380, '2 h 3 min'],
])('a duration of %d seconds is shown as %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

it.each([
  [0.52, '0.52'],
  [850, '850'],
  [1234, '1.2k'],
  [41_234, '41k'],
  [999_999, '1M'],
  [1_234_567, '1.2M'],
])('a count of %d is shown by its size as %s', (value, text) => {
  expect(formatSize(value)).toBe(text);
});

it('a line that is too long loses what is left out first, then has short forms, then loses more, but never all', () => {
  const parts = [
    { text: 'one' },
    { text: 'twenty-two', short: '22', leaveOut: 2 },
    { text: 'three', leaveOut: 1 },
    { text: 'four', leaveOut: 0 },
  ];
  const fitted = [28, 27, 21, 13, 12, 7, 6, 1].map((width) => fitLine(parts, width));
  expect(fitted).toEqual([
    'one  twenty-two  three  four',
    'one  twenty-two  three',
    'one  22  three',
    'one  22',
    'one  22',
    'one  22',
    'one',
    'one',
  ]);
});

it('lines are broken at spaces with an indent, styles take no room, and a long word stays whole', () => {
  expect(wrapLines('aaa bbb ccc\nshort', 8)).toBe('aaa bbb\n    ccc\nshort');
  expect(wrapLines('\x1b[32maaa\x1b[39m bbb', 7)).toBe('\x1b[32maaa\x1b[39m bbb');
  expect(wrapLines('a /a/very/long/path b', 8)).toBe('a\n    /a/very/long/path\n    b');
  expect(wrapLines('  indented text', 10)).toBe('  indented\n    text');
});
