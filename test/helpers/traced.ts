// A small program under strace, which shows its system calls and makes chosen ones fail or kill it. strace
// is attached once the program is loaded, so that counting begins with the first call that matters; one
// thread makes all calls, so that the count is the same every time (strace counts by thread).
import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { ROOT } from './cli.ts';

const DEADLINE_MS = 30_000;

type Program = ChildProcessByStdio<Writable, Readable, Readable>;

export interface TracedResult {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Lines of strace, files by name. */
  readonly calls: readonly string[];
}

/** The requirement that this machine lacks, for the name of a skipped test; undefined if none. */
export function missingForTracing(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  return spawnSync('strace', ['-f', 'true']).status === 0 ? undefined : 'strace';
}

/** An import of a built file of the project, for a program's text. */
export function importBuilt(names: string, file: string): string {
  return `import { ${names} } from ${JSON.stringify(path.join(ROOT, 'dist', file))};`;
}

/** Runs `imports`, then, under strace with `options`, `body`. */
export async function runTraced(
  { imports, body }: { readonly imports: string; readonly body: string },
  options: readonly string[],
): Promise<TracedResult> {
  const waiting = "console.log('loaded'); await new Promise((go) => process.stdin.once('data', go));";
  const program = `${imports}\n${waiting} process.stdin.destroy();\n${body}`;
  const node = spawn(process.execPath, ['--input-type=module', '-e', program], {
    env: { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '1' },
    stdio: 'pipe',
  });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-strace-'));
  const log = path.join(folder, 'calls');
  let tracer: Program | undefined;
  const timer = setTimeout(() => [node, tracer].map((each) => each?.kill('SIGKILL')), DEADLINE_MS);
  try {
    const output = collect(node);
    const ended = untilClosed(node);
    await untilSaid(node.stdout, () => output.stdout, 'loaded\n');
    tracer = spawn('strace', ['-f', '-y', '-s', '0', '-o', log, ...options, '-p', String(node.pid)], {
      stdio: 'pipe',
    });
    const traced = collect(tracer);
    const tracerEnded = untilClosed(tracer);
    await untilSaid(tracer.stderr, () => traced.stderr, ' attached');
    node.stdin.end('go\n');
    const [{ exitCode, signal }] = await Promise.all([ended, tracerEnded]);
    const calls = fs.readFileSync(log, 'utf8').trim().split('\n');
    return { exitCode, signal, stdout: output.stdout.replace('loaded\n', ''), stderr: output.stderr, calls };
  } finally {
    clearTimeout(timer);
    node.kill('SIGKILL');
    fs.rmSync(folder, { recursive: true });
  }
}

function collect(child: Program): { stdout: string; stderr: string } {
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  // A program that was killed does not read its input.
  child.stdin.on('error', () => undefined);
  return output;
}

function untilClosed(child: Program): Promise<{ exitCode: number | null; signal: NodeJS.Signals | null }> {
  return new Promise((resolve) =>
    child.once('close', (exitCode: number | null, signal: NodeJS.Signals | null) =>
      resolve({ exitCode, signal }),
    ),
  );
}

function untilSaid(stream: Readable, said: () => string, words: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.on('data', () => said().includes(words) && resolve());
    stream.once('close', () => reject(new Error(`ended without ${JSON.stringify(words)}: ${said()}`)));
  });
}
