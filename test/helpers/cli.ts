// Runs the built command line as a user would: in its own process, in a temporary directory, with a
// deadline. All processes that it starts share its process group, so the whole tree can be inspected,
// signalled and cleaned up.
import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';

/** The repository. */
export const ROOT = path.resolve(import.meta.dirname, '../..');
/** The built command line. */
export const PROGRAM = path.join(ROOT, 'dist/bin/lockstep.js');
const POLL_MS = 10;

/** Options for running a command. */
export interface CliOptions {
  readonly cwd: string;
  /** Added to PATH; nothing else is passed on. */
  readonly env?: Readonly<Record<string, string>>;
  /** A command that runs the rest of its arguments, such as `ip netns exec NAME`. */
  readonly through?: readonly string[];
  /** The command for Node.js; default: the one that runs the tests. */
  readonly node?: readonly string[];
  /** Default: the built command line. */
  readonly program?: string;
  /** Default 40 s; then the whole tree is killed and `finished` rejects. */
  readonly deadlineMs?: number;
}

/** The outcome of a command. */
export interface CliResult {
  /** Null if a signal killed it. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running command. */
export class CliProcess {
  readonly pid: number;
  /**
   * Resolves once the command has ended. Rejects if it missed its deadline, or ended by itself and left a
   * process behind.
   */
  readonly finished: Promise<CliResult>;
  stdout = '';
  stderr = '';
  #child: ChildProcessByStdio<null, Readable, Readable>;
  #hasEnded = false;

  private constructor(args: readonly string[], options: CliOptions) {
    const { cwd, env = {}, through = [], node = [process.execPath], deadlineMs = 40_000 } = options;
    const [command = '', ...rest] = [...through, ...node, options.program ?? PROGRAM, ...args];
    this.#child = spawn(command, rest, {
      cwd,
      env: { PATH: process.env['PATH'], ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // The leader of a process group of its own.
      detached: true,
    });
    this.pid = this.#child.pid as number;
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.finished = this.#finish(`lockstep ${args.join(' ')}`, deadlineMs);
    this.finished.catch(() => undefined);
  }

  /** Starts a command; the rest of its tree is killed when the test is over. */
  static start(args: readonly string[], options: CliOptions): CliProcess {
    const command = new CliProcess(args, options);
    onTestFinished(() => command.signalTree('SIGKILL'));
    return command;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Signals the command alone. */
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Signals the command and all processes that it has started, as Ctrl-C in a terminal does. */
  signalTree(name: NodeJS.Signals): void {
    try {
      process.kill(-this.pid, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }

  /** Resolves to the first match in the stderr of the command. */
  async untilStderr(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.stderr);
      if (match) return match;
      if (this.#hasEnded) throw new Error(`ended without ${String(pattern)} on stderr:\n${this.stderr}`);
      await sleep(POLL_MS);
    }
  }

  /** Resolves once every process of the tree has ended. */
  async untilTreeIsGone(): Promise<void> {
    while (runningProcesses(this.pid).length > 0) await sleep(POLL_MS);
  }

  async #finish(command: string, deadlineMs: number): Promise<CliResult> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.signalTree('SIGKILL');
    }, deadlineMs);
    const exitCode = await new Promise<number | null>((resolve) => this.#child.once('close', resolve));
    this.#hasEnded = true;
    clearTimeout(timer);
    const { stdout, stderr } = this;
    if (isLate) throw new Error(`${command}: not done within ${deadlineMs} ms\n${stderr}`);
    const left = exitCode === null ? [] : runningProcesses(this.pid);
    if (left.length > 0) throw new Error(`${command}: left processes behind: ${left.join(', ')}\n${stderr}`);
    return { exitCode, stdout, stderr };
  }
}

/** Runs a command until it ends. */
export function runCli(args: readonly string[], options: CliOptions): Promise<CliResult> {
  return CliProcess.start(args, options).finished;
}

/**
 * Runs `task` for each item, two at a time, which suits a machine with two cores; returns the results in
 * order.
 */
export async function inPairs<Item, Result>(
  items: readonly Item[],
  task: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  const waiting = [...items.entries()];
  const takeTurns = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) results[next[0]] = await task(next[1]);
  };
  await Promise.all([takeTurns(), takeTurns()]);
  return results;
}

/**
 * The processes of a group, except those that have ended and wait for their parent to notice (Linux only).
 */
function runningProcesses(group: number): string[] {
  return fs.readdirSync('/proc').filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      // pid (name) state parent group ...; the name may hold anything.
      const stat = fs.readFileSync(`/proc/${entry}/stat`, 'latin1');
      const [state, , processGroup] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return Number(processGroup) === group && state !== 'Z' && state !== 'X';
    } catch {
      return false;
    }
  });
}
