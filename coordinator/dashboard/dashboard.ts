// The dashboard of a run that goes on, seen from the run: it starts the thread that serves the page, and
// tells it what only this process knows. Nothing here waits for a page, and no failure reaches the run.
import { on, once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { ErrorDetails } from '../../src/errors.ts';
import { LockstepError } from '../../src/errors.ts';
import type { Logger } from '../../src/log.ts';
import { hostAndPort } from '../../src/protocol/connection.ts';
import type { ComputeActivity } from '../training/compute.ts';
import type { DashboardAddress } from './dashboard-server.ts';

/** A message to the thread. */
export type ThreadMessage =
  | { readonly type: 'show'; readonly directory: string; readonly stepsPerEpoch: number }
  | { readonly type: 'activity'; readonly activity: ComputeActivity }
  | { readonly type: 'close' };

/** A message from the thread. */
export type ThreadReport =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'refused'; readonly details: ErrorDetails }
  | { readonly type: 'info' | 'warn'; readonly message: string }
  | { readonly type: 'watchers'; readonly count: number };

/** Time for the thread to start and open its port. */
const START_MS = 20_000;
/** Time for it to end: pages have 3 s to fetch the last pictures. */
const CLOSE_MS = 5000;
/** Time between two reports of what is computed, while a page is watching. */
const ACTIVITY_MS = 1000;

/** A dashboard that is open. */
export class Dashboard {
  readonly #thread: Worker;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #numWatchers = 0;
  #isOver = false;

  private constructor(thread: Worker, log: Logger) {
    this.#thread = thread;
    this.#log = log;
    thread.on('message', (report: ThreadReport) => {
      if (report.type === 'watchers') this.#numWatchers = report.count;
      else if (report.type === 'info' || report.type === 'warn') log[report.type](report.message);
    });
    thread.on('error', (error: Error) => {
      this.#isOver = true;
      log.warn(`dashboard: it has ended: ${error.message}`);
    });
  }

  /**
   * Opens a dashboard, and says where.
   * @throws LockstepError (exit 2) if its port is taken, not ours to open, or lacks a token
   */
  static async open(address: DashboardAddress, log: Logger): Promise<Dashboard> {
    const thread = new Worker(new URL('./dashboard-thread.js', import.meta.url), { workerData: address });
    const first = await firstReport(thread, log);
    // The end of the run does not wait for it.
    thread.unref();
    if (first.type === 'refused') throw new LockstepError(first.details);
    if (first.type === 'listening') log.info(`dashboard on ${urlOf(address, first.port)}`);
    return new Dashboard(thread, log);
  }

  /** Shows the run in a directory from now on. */
  show(directory: string, stepsPerEpoch: number): void {
    this.#post({ type: 'show', directory, stepsPerEpoch });
  }

  /** Shows what is computed from now on, as long as somebody is watching. */
  watch(activityOf: () => ComputeActivity): void {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      if (this.#numWatchers > 0) this.#post({ type: 'activity', activity: activityOf() });
    }, ACTIVITY_MS).unref();
  }

  /** Ends it, within a deadline. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    if (this.#isOver) return;
    const ended = once(this.#thread, 'exit');
    this.#post({ type: 'close' });
    const timer = setTimeout(() => void this.#thread.terminate(), CLOSE_MS);
    await ended.catch((error: Error) => this.#log.warn(`dashboard: ${error.message}`));
    clearTimeout(timer);
  }

  #post(message: ThreadMessage): void {
    if (!this.#isOver) this.#thread.postMessage(message);
  }
}

/** The address of a page, for people: a token is not written into logs. */
export function urlOf({ host, tls, token }: DashboardAddress, port: number): string {
  return `${tls ? 'https' : 'http'}://${hostAndPort(host, port)}/${token === undefined ? '' : '?token=TOKEN'}`;
}

/** Waits until the port is open, or is not to be. */
async function firstReport(thread: Worker, log: Logger): Promise<ThreadReport> {
  const reports = on(thread, 'message', { signal: AbortSignal.timeout(START_MS) });
  try {
    for await (const [report] of reports as AsyncIterable<[ThreadReport]>) {
      if (report.type !== 'info' && report.type !== 'warn') return report;
      log[report.type](report.message);
    }
    throw new Error('it has ended');
  } catch (cause) {
    void thread.terminate();
    const reason =
      cause instanceof Error
        ? cause.name === 'AbortError'
          ? `not open within ${START_MS / 1000} s`
          : cause.message
        : String(cause);
    throw new LockstepError({
      category: 'failure',
      code: 'E_DASHBOARD',
      message: `cannot start the dashboard: ${reason}`,
      help: 'train without --dashboard',
      cause,
    });
  }
}
