// The copy of a run in object storage, seen from the run: it starts the thread that makes the copy, tells it
// of each checkpoint, and waits for it at the end alone.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { LockstepError, type ErrorDetails } from '../../src/errors.ts';
import type { Logger } from '../../src/log.ts';
import { FINISH_DEADLINE_MS, type MirrorData } from './checkpoint-mirror.ts';

/** A message to the thread. */
export type MirrorMessage = { readonly type: 'saved'; readonly path: string } | { readonly type: 'finish' };

/** A message from the thread. */
export type MirrorReport =
  | { readonly type: 'log'; readonly level: 'info' | 'warn' | 'debug'; readonly message: string }
  | { readonly type: 'finished'; readonly failure?: ErrorDetails };

/** Time of the thread beyond its own deadline. */
const GRACE_MS = 30_000;

/** A copy that is being made. */
export class Mirror {
  readonly #thread: Worker;
  readonly #ended: Promise<unknown>;
  #failure: ErrorDetails | undefined = {
    category: 'network',
    code: 'E_MIRROR',
    message: 'the copy in object storage has not come to its end',
    help: 'everything is in the run directory',
  };

  constructor(data: MirrorData, log: Logger) {
    this.#thread = new Worker(new URL('./mirror-thread.js', import.meta.url), { workerData: data });
    this.#ended = once(this.#thread, 'exit').catch((error: Error) =>
      log.warn(`${data.url}: nothing more is copied: ${error.message}`),
    );
    this.#thread.on('message', (report: MirrorReport) => {
      if (report.type === 'log') log[report.level](report.message);
      else this.#failure = report.failure;
    });
  }

  /** Has a checkpoint copied, in its own time. */
  noteSaved(path: string): void {
    this.#post({ type: 'saved', path });
  }

  /** Waits until everything is copied. @throws LockstepError (exit 5) that names what has not arrived in time */
  async finish(): Promise<void> {
    this.#post({ type: 'finish' });
    const timer = setTimeout(() => void this.#thread.terminate(), FINISH_DEADLINE_MS + GRACE_MS);
    await this.#ended;
    clearTimeout(timer);
    if (this.#failure) throw new LockstepError(this.#failure);
  }

  /** Copies nothing more: another process has the run, and copies it. */
  async abandon(): Promise<void> {
    await this.#thread.terminate();
    await this.#ended;
  }

  /** Sends nothing to a thread that has ended. */
  #post(message: MirrorMessage): void {
    this.#thread.postMessage(message);
  }
}
