// The workers of a local cluster: child processes of the coordinator, which are restarted a few
// times if they die, and end when it ends.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { EXIT } from '../../src/errors.ts';
import type { Logger } from '../../src/log.ts';

/** The command line of the workers, and the receivers of news about them. */
export interface LocalWorkersOptions {
  readonly count: number;
  readonly threads: number;
  /** Flags with the address at which they take workers of their own; none where they take none. */
  readonly listenFlags: readonly string[];
  readonly url: string;
  readonly token: string | undefined;
  /** The command line's program file: `lockstep worker` is run with it. */
  readonly program: string;
  readonly log: Logger;
  /** The number by which people know a worker, by its instance. */
  readonly numberOf: (instance: string) => number;
  /** Called with the instance of a worker that died for lack of memory. */
  readonly onOutOfMemory: (instance: string) => void;
  /** Called when the last worker has died for good. */
  readonly onAllGone: (reason: string) => void;
  /** Runs handlers of child processes, as `Cluster.guard` does. */
  readonly guard: (work: () => void) => void;
}

/**
 * Every core computes, so a worker's garbage collector gets no helper threads: they
 * cost more than they save.
 */
const NODE_FLAGS = ['--single-threaded-gc'];
/** Starts of one worker after its first, or after one that lived for long. */
const MAX_RESTARTS = 3;
/** Lifetime after which a crash no longer counts towards the limit on restarts. */
const LONG_LIFE_MS = 60_000;
/**
 * Share of all memory, in thousandths, that Linux adds to a worker's when it looks for a process to
 * kill for lack of memory: a worker is restarted, the coordinator is not.
 */
const OOM_SCORE_ADJUSTMENT = 500;
/** The beginning of a line that a worker logs. The coordinator's has its own. */
const LOG_PREFIX = /^\[\d\d:\d\d:\d\d\] [A-Z]+: /;
/** Longest wait for a worker to end after it was told to. */
const STOP_DEADLINE_MS = 5_000;

/** Child processes running `lockstep worker`. */
export class LocalWorkers {
  readonly #options: LocalWorkersOptions;
  readonly #children = new Set<ChildProcess>();
  readonly #ends = new ProcessEnds();
  #isStopping = false;

  constructor(options: LocalWorkersOptions) {
    this.#options = options;
    for (let index = 0; index < options.count; index++) this.#start(0);
  }

  #nameOf({ instance }: Life): string {
    return instance === undefined ? 'a worker process' : `worker ${this.#options.numberOf(instance)}`;
  }

  /** Waits for the workers to end, and kills those that do not. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all([...this.#children].map(stopChild));
  }

  #start(numRestarts: number): void {
    const { url, threads, listenFlags, token, program, log, guard } = this.#options;
    const child = spawn(
      process.execPath,
      [...NODE_FLAGS, program, 'worker', url, '--threads', String(threads), ...listenFlags],
      {
        // The channel tells a worker that this process is gone, however it went.
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
        env: { ...process.env, LOCKSTEP_TOKEN: token, LOCKSTEP_LOG_LEVEL: 'warn', NO_COLOR: '1' },
      },
    );
    this.#children.add(child);
    if (child.pid !== undefined) offerToKernel(child.pid);
    const life: Life = { numRestarts, startedMs: performance.now(), instance: undefined };
    if (child.stderr) {
      const tell = (line: string): void => log.warn(`${this.#nameOf(life)}: ${line.replace(LOG_PREFIX, '')}`);
      // What it has to say may be lost, and nothing else is.
      child.stderr.on('error', (error) => tell(error.message));
      createInterface({ input: child.stderr }).on('line', tell);
    }
    child.once('message', (message) => (life.instance = (message as { readonly instance: string }).instance));
    // More than once: a signal may fail as well as the start.
    child.on('error', (error) => guard(() => this.#exited(child, life, error.message)));
    child.once('exit', (code, signal) => guard(() => this.#ended(child, life, code, signal)));
  }

  #ended(child: ChildProcess, life: Life, code: number | null, signal: NodeJS.Signals | null): void {
    const isOutOfMemory = !this.#isStopping && this.#ends.isOutOfMemory(code, signal);
    if (isOutOfMemory && life.instance !== undefined) this.#options.onOutOfMemory(life.instance);
    const how = signal ?? `exit code ${code}`;
    // One that was banned would come back as another process, with the same memory.
    const isRefused = code === EXIT.network;
    this.#exited(child, life, isOutOfMemory ? `${how}, out of memory` : how, isRefused);
  }

  #exited(child: ChildProcess, life: Life, how: string, isRefused = false): void {
    if (!this.#children.delete(child) || this.#isStopping) return;
    const { log, onAllGone } = this.#options;
    const livedLong = performance.now() - life.startedMs >= LONG_LIFE_MS;
    const numRestarts = livedLong ? 0 : life.numRestarts;
    const canRestart = !isRefused && numRestarts < MAX_RESTARTS;
    log.warn(
      `${this.#nameOf(life)} (pid ${child.pid}) ended: ${how}; ${canRestart ? 'starting it again' : 'it is not started again'}`,
    );
    if (canRestart) this.#start(numRestarts + 1);
    else if (this.#children.size === 0)
      onAllGone(`every worker process has ended for good, the last one by ${how}`);
  }
}

/** The life of one process. */
interface Life {
  /** Starts of this worker before it, in short succession. */
  readonly numRestarts: number;
  readonly startedMs: number;
  /** The identity that the process reported, once it has. */
  instance: string | undefined;
}

/** Lets the kernel kill this process before others of about the same size. */
function offerToKernel(pid: number): void {
  try {
    fs.writeFileSync(`/proc/${pid}/oom_score_adj`, String(OOM_SCORE_ADJUSTMENT));
  } catch {
    // Not Linux, or gone already.
  }
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS);
  if (child.connected) child.disconnect();
  await exited;
  clearTimeout(timer);
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
