// The workers of this machine: child processes of the coordinator, which end when it ends.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { EXIT } from '../../src/errors.ts';
import type { Launch } from './worker-processes.ts';

/** A worker of this machine. */
export interface LocalWorker {
  /** Its threads, or `auto` for one on each core. */
  readonly threads: number | 'auto';
  /** Flags besides, such as the address at which it takes workers of its own. */
  readonly flags: readonly string[];
}

/** The coordinator of the workers of this machine, and the program that they run. */
export interface LocalCommand {
  readonly url: string;
  readonly token: string | undefined;
  /** The command line's program file: `lockstep worker` is run with it. */
  readonly program: string;
}

/**
 * Every core computes, so a worker's garbage collector gets no helper threads: they
 * cost more than they save.
 */
const NODE_FLAGS = ['--single-threaded-gc'];
/**
 * Share of all memory, in thousandths, that Linux adds to a worker's when it looks for a process to
 * kill for lack of memory: a worker is restarted, the coordinator is not.
 */
const OOM_SCORE_ADJUSTMENT = 500;

/** Launches of `lockstep worker` on this machine. */
export function localLaunches(workers: readonly LocalWorker[], command: LocalCommand): Launch[] {
  const ends = new ProcessEnds();
  return workers.map((worker) => ({
    name: 'a worker process',
    keepsName: false,
    holdsLines: false,
    start: () => startLocal(worker, command),
    onInstance: (child, listener) =>
      child.once('message', (message) => listener((message as { readonly instance: string }).instance)),
    dismiss: (child) => child.connected && child.disconnect(),
    explain: ({ code, signal, error }) => {
      if (error) return { how: error.message, isFinal: false };
      const isOutOfMemory = ends.isOutOfMemory(code, signal);
      const how = signal ?? `exit code ${code}`;
      // One that was banned would come back as another process, with the same memory.
      const isFinal = code === EXIT.network;
      return { how: isOutOfMemory ? `${how}, out of memory` : how, isFinal, isOutOfMemory };
    },
    restartDelayMs: () => 0,
  }));
}

function startLocal({ threads, flags }: LocalWorker, { url, token, program }: LocalCommand): ChildProcess {
  const child = spawn(
    process.execPath,
    [...NODE_FLAGS, program, 'worker', url, '--threads', String(threads), ...flags],
    {
      // The channel tells a worker that this process is gone, however it went.
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, LOCKSTEP_TOKEN: token, LOCKSTEP_LOG_LEVEL: 'warn', NO_COLOR: '1' },
    },
  );
  if (child.pid !== undefined) offerToKernel(child.pid);
  return child;
}

/** Lets the kernel kill this process before others of about the same size. */
function offerToKernel(pid: number): void {
  try {
    fs.writeFileSync(`/proc/${pid}/oom_score_adj`, String(OOM_SCORE_ADJUSTMENT));
  } catch {
    // Not Linux, or gone already.
  }
}

/** The exit code that a shell makes of SIGABRT. */
const ABORTED = 134;

/** Watches a series of ends of processes that share the control group of this one. */
export class ProcessEnds {
  readonly #countKilled: () => number;
  /**
   * Kills in the kernel's count that are accounted for: those before this object was made,
   * and those reported since.
   */
  #numKnown: number;

  constructor(count: () => number = countKilled) {
    this.#countKilled = count;
    this.#numKnown = count();
  }

  /** Tells whether a process that just ended like this had too little memory. */
  isOutOfMemory(code: number | null, signal: NodeJS.Signals | null): boolean {
    if (signal === 'SIGABRT' || code === ABORTED) return true;
    if (signal !== 'SIGKILL') return false;
    // One for each: two may have been killed before the end of the first is heard of.
    const isCounted = this.#countKilled() > this.#numKnown;
    if (isCounted) this.#numKnown++;
    return isCounted;
  }
}

/**
 * Processes that the kernel has killed in this control group for lack of memory; 0 where it
 * does not tell (not Linux).
 */
function countKilled(): number {
  for (const file of counterFiles()) {
    try {
      const count = /^oom_kill (\d+)$/m.exec(fs.readFileSync(file, 'utf8'))?.[1];
      if (count !== undefined) return Number(count);
    } catch {
      // Another version of control groups, or none.
    }
  }
  return 0;
}

/**
 * Files of both versions of control groups where they are usually mounted; the last is a
 * container's view of its own group.
 */
function counterFiles(): string[] {
  try {
    const groups = fs.readFileSync('/proc/self/cgroup', 'utf8');
    const unified = /^0::(.*)$/m.exec(groups)?.[1] ?? '/';
    const memory = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(groups)?.[1] ?? '/';
    return [
      `/sys/fs/cgroup/memory${memory}/memory.oom_control`,
      `/sys/fs/cgroup${unified}/memory.events`,
      '/sys/fs/cgroup/memory/memory.oom_control',
      '/sys/fs/cgroup/memory.events',
    ];
  } catch {
    return [];
  }
}
