// `lockstep predict` on tables that come through a pipe, or are longer than a block.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { TrainConfig } from '../../api/train.ts';
import { PROGRAM, runCli } from '../helpers/cli.ts';
import { TABLES, trainAll } from '../helpers/exported-models.ts';

let cwd = '';

beforeAll(async () => {
  cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-predict-'));
  await trainAll(cwd, [TABLES['areas'] as TrainConfig]);
});

afterAll(() => fs.rmSync(cwd, { recursive: true }));

/** A running `lockstep predict` that reads stdin, and what it has printed. */
function startPredict(...flags: readonly string[]) {
  const child = spawn(process.execPath, [PROGRAM, 'predict', 'runs/areas', '-', ...flags], { cwd });
  onTestFinished(() => void child.kill('SIGKILL'));
  const printed = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (printed.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (printed.stderr += text));
  // The command may end before it has read everything.
  child.stdin.on('error', () => undefined);
  const ended = once(child, 'close').then(([exitCode]) => ({ exitCode: exitCode as number, ...printed }));
  return { child, printed, ended };
}

/** What `lockstep predict` prints and how it ends, given a whole stdin. */
function predictText(text: string, ...flags: readonly string[]) {
  const { child, ended } = startPredict(...flags);
  child.stdin.end(text);
  return ended;
}

const rowAt = (row: number): string => `${row % 20},${row % 7},${row % 3 ? 'box' : 'roof'},house ${row}`;

/** A table of rows that are several blocks. */
function longTable(numRows: number): string {
  return `width,height,shape,id\n${Array.from({ length: numRows }, (_, row) => rowAt(row)).join('\n')}\n`;
}

it('stdin gives the predictions of the same file, in its order, over many blocks', async () => {
  const table = longTable(40_000);
  fs.writeFileSync(path.join(cwd, 'long.csv'), table);
  expect(table.length).toBeGreaterThan(3 * 256 * 1024);
  const fromFile = await runCli(['predict', 'runs/areas', 'long.csv', '--keep', 'id'], { cwd });
  const fromPipe = await predictText(table, '--keep', 'id');
  expect(fromPipe).toEqual({ exitCode: 0, stdout: fromFile.stdout, stderr: '' });
  const [header, ...lines] = fromPipe.stdout.trimEnd().split('\n');
  expect(header).toBe('id,area');
  expect(lines.map((line) => line.split(',')[0])).toEqual(
    Array.from({ length: 40_000 }, (_, row) => `house ${row}`),
  );
  // The rows repeat after 420, and so do their predictions.
  expect(lines[39_900]?.split(',')[1]).toBe(lines[0]?.split(',')[1]);
});

it.each([
  ['CSV', 'width,height,shape\n10,5,box\n', '12,5,roof\n7,'],
  ['JSON Lines', '{"width":10,"height":5,"shape":"box"}\n', '{"shape":"roof","width":12,"height":5}\n'],
])('a row of %s is predicted while the pipe stays open', async (_, first, second) => {
  const { child, printed, ended } = startPredict('--format', 'jsonl');
  child.stdin.write(first);
  child.stdin.write(second);
  while (!printed.stdout.includes('\n')) await once(child.stdout, 'data');
  expect(printed.stdout).toMatch(/^\{"area":[\d.]+\}\n/);
  child.stdin.end(second.endsWith(',') ? '3,box\n' : '');
  const { exitCode, stdout } = await ended;
  expect(exitCode).toBe(0);
  expect(stdout.trimEnd().split('\n')).toHaveLength(second.endsWith(',') ? 3 : 2);
});

it('a column whose name has a comma or a quote is kept by a name in quotes', async () => {
  const table = '"id, old","a""b",width,height,shape\n7,8,10,5,box\n';
  const kept = await predictText(table, '--keep', '"id, old","a""b",width');
  expect(kept.stdout).toMatch(/^"id, old","a""b",width,area\n7,8,10,[\d.]+\n$/);
  const open = await predictText(table, '--keep', '"id, old');
  expect([open.exitCode, open.stderr]).toEqual([
    2,
    'error[E_PREDICT_KEEP]: --keep: cannot read "\\"id, old"\n' +
      `  help: quote a name with a comma: --keep '"a,b",c'\n`,
  ]);
});

it.skipIf(process.platform !== 'linux')(
  'a stdin that cannot be read is the error, not the file of the predictions',
  async () => {
    // The first page of a process, here of the shell, is no memory: reading it is an error of the system.
    const through = ['sh', '-c', 'exec 3< /proc/self/mem; "$0" "$@" <&3; exit $?'];
    const command = ['predict', 'runs/areas', '-', '--output', 'unwritten.csv'];
    expect(await runCli(command, { cwd, through })).toEqual({
      exitCode: 3,
      stdout: '',
      stderr: 'error[E_DATA_UNREADABLE]: cannot read stdin: EIO: i/o error, read\n',
    });
    expect(fs.existsSync(path.join(cwd, 'unwritten.csv'))).toBe(false);
  },
);

it.skipIf(process.platform === 'win32')('a directory for stdin is no table without rows', async () => {
  const through = ['sh', '-c', '"$0" "$@" < .'];
  expect(await runCli(['predict', 'runs/areas', '-'], { cwd, through })).toEqual({
    exitCode: 3,
    stdout: '',
    stderr: 'error[E_DATA_UNREADABLE]: cannot read stdin: it is a directory\n',
  });
});

it('columns are kept as they are, and a predicted one gives way to a kept one of its name', async () => {
  const table = 'area,id,width,height,shape\n?,"a,""b""",10,5,box\n';
  const all = await predictText(table, '--keep', 'all');
  expect(all.stdout).toMatch(/^area,id,width,height,shape,predicted_area\n\?,"a,""b""",10,5,box,[\d.]+\n$/);
  const two = await predictText(table, '--keep', 'id,width', '--keep', 'shape', '--format', 'jsonl');
  expect(two.stdout).toMatch(/^\{"id":"a,\\"b\\"","width":"10","shape":"box","area":[\d.]+\}\n$/);
  const rows = await predictText('{"width":10,"height":5,"shape":"box","id":7}\n', '--keep', 'id');
  expect(rows.stdout).toMatch(/^id,area\n7,[\d.]+\n$/);
});

it.each([
  [
    'a cell that is no number',
    'width,height,shape\n10,5,box\n11,five,box\n',
    [],
    'error[E_DATA_NOT_A_NUMBER]: column "height": "five" is not a number (1 of 1 cell)\n  --> stdin:3\n' +
      '  help: correct the cell: the model was trained on numbers in this column\n',
  ],
  [
    'a line that is no JSON',
    '{"width":10,"height":5,"shape":"box"}\n{"width":\n',
    [],
    'error[E_DATA_JSON]: this line is no JSON: "{\\"width\\":"\n  --> stdin:2\n  help: write one row on each line\n',
  ],
  [
    'a column to keep that is not there',
    'width,height,shape,id\n10,5,box,1\n',
    ['--keep', 'ids'],
    'error[E_PREDICT_KEEP]: --keep: no column "ids"\n  --> stdin:1\n  help: did you mean "id"?\n',
  ],
  [
    'nothing',
    '',
    [],
    'error[E_DATA_EMPTY]: stdin holds no rows, only blank lines or a line that sets the delimiter\n',
  ],
  [
    'a header alone',
    'width,height,shape\n',
    [],
    'error[E_DATA_NO_ROWS]: stdin has a header but no data rows\n',
  ],
])('%s on stdin is an error that says where', async (_, table, flags, message) => {
  const { exitCode, stderr } = await predictText(table, ...flags);
  expect(stderr).toBe(message);
  expect(exitCode).toBe(flags.length > 0 ? 2 : 3);
});

it('a row that is wrong in a later block leaves the predictions before it, and no file of --output', async () => {
  const table = `${longTable(30_000)}wide,5,box,x\n`;
  const { exitCode, stdout, stderr } = await predictText(table);
  expect(exitCode).toBe(3);
  expect(stderr).toContain('--> stdin:30002\n');
  expect(stdout.split('\n').length).toBeGreaterThan(10_000);
  expect((await predictText(table, '--output', 'never.csv')).exitCode).toBe(3);
  expect(fs.existsSync(path.join(cwd, 'never.csv'))).toBe(false);
});

it('a reader that leaves ends the command quietly, although its input goes on', async () => {
  const { child, printed, ended } = startPredict();
  child.stdin.write(longTable(40_000));
  await once(child.stdout, 'data');
  child.stdout.destroy();
  child.stdin.write(longTable(40_000).replace(/^.*\n/, ''));
  expect(await ended).toMatchObject({ exitCode: 0, stderr: '' });
  expect(printed.stdout).toMatch(/^area\n/);
});

it.runIf(process.platform !== 'win32')(
  'Ctrl-C ends a command with --output that waits for rows, and leaves no file',
  async () => {
    const { child, ended, printed } = startPredict('--output', 'waiting.csv');
    child.stdin.write(longTable(40_000));
    const begun = (): boolean => fs.readdirSync(cwd).some((name) => name.includes('waiting.csv'));
    await expect.poll(begun, { timeout: 20_000 }).toBe(true);
    child.kill('SIGINT');
    expect((await ended).exitCode).toBe(130);
    expect(printed.stderr).toContain('SIGINT: stopping');
    expect(begun()).toBe(false);
  },
);

it('--input-format is refused for a file, and --keep all for JSON Lines on stdin', async () => {
  const named = await runCli(['predict', 'runs/areas', 'areas.csv', '--input-format', 'csv'], { cwd });
  expect(named).toMatchObject({
    exitCode: 2,
    stderr:
      'error[E_PREDICT_FORMAT]: --input-format is for a table on stdin\n' +
      '  help: leave it out: a file shows its format by its name or its first bytes\n',
  });
  const all = await predictText('{"width":1,"height":2,"shape":"box"}\n', '--keep', 'all');
  expect(all).toMatchObject({
    exitCode: 2,
    stderr:
      'error[E_PREDICT_KEEP]: --keep: stdin is JSON Lines, of which each row may have other columns\n' +
      '  help: name those to keep\n',
  });
});
