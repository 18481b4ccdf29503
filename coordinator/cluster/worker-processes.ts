// Worker processes that the coordinator starts and ends: children of it, each of which computes here or
// stands for a worker elsewhere. One that dies is started again a few times.
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Logger } from '../../src/log.ts';

/** One worker: how it is started and told to end, and what its end means. */
export interface Launch {
  /** The name of the process in the log, until `onInstance` has told which worker it is, or for good. */
  readonly name: string;
  /** True where `name` says more than the number of the worker. */
  readonly keepsName: boolean;
  /** True where what the process says before it is a worker comes with its end, and not line by line. */
  readonly holdsLines: boolean;
  /** Starts the process. Its stderr is a pipe. */
  start(): ChildProcess;
  /** Calls back with the identity of the worker once the process has told it. */
  onInstance(child: ChildProcess, listener: (instance: string) => void): void;
  /** Tells the process to end. */
  dismiss(child: ChildProcess): void;
  explain(end: ProcessEnd): EndExplained;
  /** Time before the start that follows this many restarts in short succession. */
  restartDelayMs(numRestarts: number): number;
}

/** The end of a process, or why it did not start. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Set where there was no process. */
  readonly error?: Error | undefined;
  /** True once it had told its identity. */
  readonly wasWorker: boolean;
  /** The last lines of stderr that were held. */
  readonly said: readonly string[];
}

/** The meaning of an end. */
export interface EndExplained {
  /** The words for it, such as `exit code 1`. */
  readonly how: string;
  /** True where another start would end in the same way. */
  readonly isFinal: boolean;
  readonly isOutOfMemory?: boolean | undefined;
}

/** A worker that is not started again. */
export interface LostWorker {
  readonly name: string;
  readonly how: string;
  /** Workers that run or are to be started again. */
  readonly numLeft: number;
}

/** The launches, and the receivers of news about them. */
export interface WorkerProcessesOptions {
  readonly launches: readonly Launch[];
  readonly log: Logger;
  /** The number by which people know a worker, by its instance. */
  readonly numberOf: (instance: string) => number;
  /** Called with the instance of a worker that died for lack of memory. */
  readonly onOutOfMemory: (instance: string) => void;
  /** Called when a worker has died for good. */
  readonly onLost: (lost: LostWorker) => void;
  /** Runs handlers of child processes, as `Cluster.guard` does. */
  readonly guard: (work: () => void) => void;
}

/** Starts of one worker after its first, or after one that lived for long. */
const MAX_RESTARTS = 3;
/** Lifetime after which a crash no longer counts towards the limit on restarts. */
const LONG_LIFE_MS = 60_000;
/** The beginning of a line that a worker logs. The coordinator's has its own. */
const LOG_PREFIX = /^\[\d\d:\d\d:\d\d\] [A-Z]+: /;
/** Longest wait for a worker to end after it was told to. */
const STOP_DEADLINE_MS = 5_000;
/** Lines that are held while nobody is a worker yet: enough for a message of a shell or of npm. */
const MAX_HELD_LINES = 8;
/** A process that is no worker after this time is told of, with what it has said: logins take a second or two. */
const SLOW_START_MS = 30_000;

/** Worker processes, kept running until `stop`. */
export class WorkerProcesses {
  readonly #options: WorkerProcessesOptions;
  readonly #running = new Map<ChildProcess, Life>();
  /** Workers that are to be started again. */
  readonly #waiting = new Set<NodeJS.Timeout>();
  #isStopping = false;

  constructor(options: WorkerProcessesOptions) {
    this.#options = options;
    for (const launch of options.launches) this.#start(launch, 0);
  }

  /** Waits for the workers to end, and kills those that do not. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const timer of this.#waiting) clearTimeout(timer);
    await Promise.all([...this.#running].map(([child, { launch }]) => stopChild(child, launch)));
  }

  #start(launch: Launch, numRestarts: number): void {
    const { log, guard } = this.#options;
    const child = launch.start();
    const life: Life = {
      launch,
      numRestarts,
      startedMs: performance.now(),
      instance: undefined,
      held: launch.holdsLines ? [] : undefined,
    };
    this.#running.set(child, life);
    const slow = setTimeout(() => this.#release(life, 'no worker has started there for 30 s'), SLOW_START_MS);
    if (child.stderr) {
      const tell = (line: string): void => {
        const text = line.replace(LOG_PREFIX, '');
        if (!life.held) return log.warn(`${this.#nameOf(life)}: ${text}`);
        life.held.push(text);
        if (life.held.length > MAX_HELD_LINES) life.held.shift();
      };
      // What it has to say may be lost, and nothing else is.
      child.stderr.on('error', (error) => tell(error.message));
      createInterface({ input: child.stderr }).on('line', tell);
    }
    launch.onInstance(child, (instance) => {
      clearTimeout(slow);
      life.instance = instance;
      this.#release(life);
    });
    const ended = (end: Pick<ProcessEnd, 'code' | 'signal' | 'error'>): void => {
      clearTimeout(slow);
      guard(() => this.#ended(child, life, end));
    };
    // More than once: a signal may fail as well as the start.
    child.on('error', (error) => ended({ code: null, signal: null, error }));
    // Lines that explain the end may come after it.
    const last = launch.holdsLines ? 'close' : 'exit';
    child.once(last, (code: number | null, signal: NodeJS.Signals | null) => ended({ code, signal }));
  }

  /** Tells what was held; from now on lines are told as they come. */
  #release(life: Life, news?: string): void {
    const { held } = life;
    life.held = undefined;
    if (!held || this.#isStopping) return;
    for (const line of [...(news === undefined ? [] : [news]), ...held])
      this.#options.log.warn(`${this.#nameOf(life)}: ${line}`);
  }

  #nameOf({ instance, launch }: Life): string {
    if (instance === undefined || launch.keepsName) return launch.name;
    return `worker ${this.#options.numberOf(instance)}`;
  }

  #ended(child: ChildProcess, life: Life, end: Pick<ProcessEnd, 'code' | 'signal' | 'error'>): void {
    if (!this.#running.delete(child) || this.#isStopping) return;
    const { log, onLost, onOutOfMemory } = this.#options;
    const { held: said = [], instance, launch } = life;
    const { how, isFinal, isOutOfMemory } = launch.explain({
      ...end,
      wasWorker: instance !== undefined,
      said,
    });
    if (isOutOfMemory && instance !== undefined) onOutOfMemory(instance);
    const livedLong = performance.now() - life.startedMs >= LONG_LIFE_MS;
    const numRestarts = livedLong ? 0 : life.numRestarts;
    const canRestart = !isFinal && numRestarts < MAX_RESTARTS;
    const next = canRestart ? 'starting it again' : 'it is not started again';
    const pid = child.pid === undefined ? '' : ` (pid ${child.pid})`;
    log.warn(`${this.#nameOf(life)}${pid} ended: ${how}; ${next}`);
    if (canRestart) this.#startAgain(launch, numRestarts);
    else onLost({ name: this.#nameOf(life), how, numLeft: this.#running.size + this.#waiting.size });
  }

  #startAgain(launch: Launch, numRestarts: number): void {
    const delayMs = launch.restartDelayMs(numRestarts);
    if (delayMs === 0) return this.#start(launch, numRestarts + 1);
    const timer = setTimeout(() => {
      this.#waiting.delete(timer);
      this.#options.guard(() => this.#start(launch, numRestarts + 1));
    }, delayMs);
    this.#waiting.add(timer);
  }
}

/** The life of one process. */
interface Life {
  readonly launch: Launch;
  /** Starts of this worker before it, in short succession. */
  readonly numRestarts: number;
  readonly startedMs: number;
  /** The identity that the process reported, once it has. */
  instance: string | undefined;
  /** Lines that wait for the process to be a worker, or to end; undefined where none wait. */
  held: string[] | undefined;
}

async function stopChild(child: ChildProcess, launch: Launch): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS);
  launch.dismiss(child);
  await exited;
  clearTimeout(timer);
}
