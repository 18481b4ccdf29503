// How a command handles signals: a real process, with the built runtime of the command line.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { PROGRAM, ROOT } from '../helpers/cli.ts';

const RUNTIME = pathToFileURL(path.join(ROOT, 'dist/bin/runtime.js')).href;

/**
 * A command that holds up its event loop for a while once it is told to stop, and ends only if it is made to.
 */
async function startStubborn(busyMs: number) {
  const program = `
    import { createRuntime } from '${RUNTIME}';
    const { signal } = createRuntime();
    signal.addEventListener('abort', () => {
      console.log(signal.reason.message);
      for (const startMs = performance.now(); performance.now() - startMs < ${busyMs};);
      console.log('idle again');
    });
    setInterval(() => undefined, 1000);
    console.log('ready');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env['PATH'], LOCKSTEP_LOG_LEVEL: 'silent' },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  const until = async (words: string): Promise<void> => {
    while (!said.includes(words)) await sleep(5);
  };
  await until('ready\n');
  return { child, exited: once(child, 'exit'), until, said: () => said };
}

it('signals within one second count as one, and a later one ends the process at once', async () => {
  const { child, exited, until, said } = await startStubborn(0);
  child.kill('SIGTERM');
  await until('idle again');
  for (const name of ['SIGINT', 'SIGTERM', 'SIGINT'] as const) {
    child.kill(name);
    await sleep(50);
  }
  await sleep(1200);
  expect(child.exitCode).toBe(null);
  expect(said()).toBe('ready\ninterrupted by SIGTERM\nidle again\n');
  child.kill('SIGINT');
  expect(await exited).toEqual([130, null]);
});

it('a repeated signal that waited while the process was busy still counts as the same one', async () => {
  const { child, exited, until } = await startStubborn(1500);
  child.kill('SIGINT');
  await until('interrupted by SIGINT');
  child.kill('SIGINT');
  child.kill('SIGTERM');
  await until('idle again');
  await sleep(200);
  expect(child.exitCode).toBe(null);
  child.kill('SIGTERM');
  expect(await exited).toEqual([143, null]);
});

it('a local worker ends if its coordinator is gone before it has started', async () => {
  const child = spawn(process.execPath, [PROGRAM, 'worker', 'ws://127.0.0.1:9'], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    env: { PATH: process.env['PATH'], LOCKSTEP_TOKEN: 'x'.repeat(40) },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let stderr = '';
  child.stderr?.on('data', (text: Buffer) => (stderr += text.toString()));
  const exited = once(child, 'exit');
  child.disconnect();
  expect(await exited).toEqual([143, null]);
  expect(stderr).toBe('');
});

/** A worker that a program has started with `--stdio`, before it gets its token; nothing listens at its URL. */
function startForProgram() {
  const child = spawn(process.execPath, [PROGRAM, 'worker', 'ws://127.0.0.1:9', '--stdio'], {
    env: { PATH: process.env['PATH'] },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (text: Buffer) => (said.stdout += text.toString()));
  child.stderr.on('data', (text: Buffer) => (said.stderr += text.toString()));
  return { child, said, exited: once(child, 'close') };
}

it('a worker started by a program says who it is, and leaves when the program closes its stdin', async () => {
  const { child, said, exited } = startForProgram();
  child.stdin.write(`${'x'.repeat(40)}\n`);
  while (!said.stderr.includes('retrying in')) await sleep(5);
  expect(said.stdout).toMatch(/^\{"instance":"[0-9a-f]{64}"\}\n$/);
  child.stdin.end();
  expect(await exited).toEqual([143, null]);
});

it('a worker started by a program that sends no token refuses to start', async () => {
  const { child, said, exited } = startForProgram();
  child.stdin.end();
  expect(await exited).toEqual([2, null]);
  expect(said).toEqual({
    stdout: '',
    stderr:
      'error[E_TOKEN]: the first line of stdin: 0 characters, expected at least 16\n  help: use 32 random bytes, such as the output of: openssl rand -hex 32\n',
  });
});
