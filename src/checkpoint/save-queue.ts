// Checkpoints that wait to be written while training continues. One is written at a time, and a waiting
// one is replaced by a newer one; but the best one waits, beside the newest, until it is written or a
// better one comes. One that the disk refuses for lack of space waits for the next save. Any other failure
// is retried a few times.
import { setTimeout as sleep } from 'node:timers/promises';
import { LockstepError, systemErrorCode } from '../errors.ts';
import type { Logger } from '../log.ts';

/** A checkpoint as the queue knows it. */
export interface QueuedSave {
  readonly path: string;
  readonly step: number;
  readonly isBest: boolean;
}

/** Everything that a queue is made from. */
export interface SaveQueueOptions<Save extends QueuedSave> {
  /**
   * Makes the checkpoint durable, or throws the system's error and leaves nothing behind. A `LockstepError` is
   * final.
   */
  readonly write: (save: Save) => Promise<void>;
  /** Called when the queue is done with the checkpoint: it is written, or replaced. */
  readonly onReleased: (save: Save) => void;
  readonly logger: Pick<Logger, 'warn'>;
}

/** A disk that fails as often in a row is not trusted with the run any more. */
const MAX_FAILURES = 3;
/** Pause between attempts, times the number of failures, in which a passing fault can pass. */
const RETRY_PAUSE_MS = 100;

/** Errors of a full disk or an exhausted quota, which the user can fix while training continues. */
const OUT_OF_SPACE: Readonly<Record<string, string>> = {
  ENOSPC: 'no space left on the disk',
  EDQUOT: 'the disk quota is used up',
};

/** Checkpoints that a queue has at once: one in writing, and two that wait, the best one and the newest. */
export const MAX_QUEUED_SAVES = 3;

/** A queue of at most `MAX_QUEUED_SAVES`. */
export class SaveQueue<Save extends QueuedSave> {
  readonly #options: SaveQueueOptions<Save>;
  #writing: Save | undefined;
  #best: Save | undefined;
  #newest: Save | undefined;
  #isDraining = false;
  #drained = Promise.resolve();
  /** The reason why the last attempt at the waiting checkpoint failed; cleared by the next one. */
  #refusal: string | undefined;
  #numFailures = 0;
  #failure: LockstepError | undefined;

  constructor(options: SaveQueueOptions<Save>) {
    this.#options = options;
  }

  /** The reason why nothing is written any more; undefined while all is well, or may become so. */
  get failure(): LockstepError | undefined {
    return this.#failure;
  }

  /** Releases what a checkpoint that is about to be queued takes the place of. */
  makeRoom({ isBest }: Pick<Save, 'isBest'>): void {
    this.#release(this.#newest);
    this.#newest = undefined;
    if (!isBest) return;
    this.#release(this.#best);
    this.#best = undefined;
  }

  /**
   * Queues a checkpoint that is newer than all before it.
   *
   * @throws LockstepError (exit 4), the failure, if there is one
   */
  add(save: Save): void {
    if (this.#failure) throw this.#failure;
    this.makeRoom(save);
    if (save.isBest) this.#best = save;
    else this.#newest = save;
    this.#start();
  }

  /**
   * Waits until everything is written; what was refused for lack of space is tried once more.
   *
   * @throws LockstepError (exit 4) if something could not be written, or was not within the deadline
   */
  async flush(deadlineMs: number): Promise<void> {
    this.#start();
    const timer = new AbortController();
    const isLate = sleep(deadlineMs, true, { signal: timer.signal }).catch(() => false);
    const wasLate = await Promise.race([isLate, this.#drained.then(() => false)]);
    timer.abort();
    const { path } = this.#writing ?? this.#best ?? this.#newest ?? { path: '' };
    if (this.#failure) throw this.#failure;
    if (wasLate) throw saveError(`${path}: not written within ${deadlineMs / 1000} s`);
    if (this.#refusal) throw saveError(`${path}: not written (${this.#refusal})`);
  }

  #start(): void {
    if (!this.#isDraining) this.#drained = this.#drain();
  }

  /** Writes what waits, the best one first: it is the older one. */
  async #drain(): Promise<void> {
    this.#isDraining = true;
    this.#refusal = undefined;
    while (!this.#refusal && !this.#failure) {
      const save = this.#best ?? this.#newest;
      if (!save) break;
      if (save === this.#best) this.#best = undefined;
      else this.#newest = undefined;
      this.#writing = save;
      await this.#write(save);
      this.#writing = undefined;
    }
    this.#isDraining = false;
  }

  async #write(save: Save): Promise<void> {
    while (!this.#failure) {
      try {
        await this.#options.write(save);
        this.#numFailures = 0;
        this.#release(save);
        return;
      } catch (error) {
        if (error instanceof LockstepError) {
          this.#failure = error;
          return;
        }
        const refusal = OUT_OF_SPACE[systemErrorCode(error) ?? ''];
        if (refusal !== undefined) {
          this.#postpone(save, refusal);
          return;
        }
        await this.#countFailure(save, error);
      }
    }
  }

  /** Puts a checkpoint back where it waited, unless a newer one has taken its place. */
  #postpone(save: Save, refusal: string): void {
    this.#refusal = refusal;
    const { path, step } = save;
    this.#options.logger.warn(
      { path, step },
      `the checkpoint of step ${step} is NOT written: ${refusal}. Training continues; the next checkpoint tries again`,
    );
    if (save.isBest && !this.#best) this.#best = save;
    else if (!save.isBest && !this.#best && !this.#newest) this.#newest = save;
    else this.#release(save);
  }

  async #countFailure({ path, step }: Save, cause: unknown): Promise<void> {
    this.#numFailures++;
    const reason = cause instanceof Error ? cause.message : String(cause);
    if (this.#numFailures >= MAX_FAILURES) {
      this.#failure = saveError(`${path}: not written in ${MAX_FAILURES} attempts (${reason})`, cause);
      return;
    }
    this.#options.logger.warn({ path, step }, `the checkpoint of step ${step} is written again: ${reason}`);
    await sleep(RETRY_PAUSE_MS * this.#numFailures);
  }

  #release(save: Save | undefined): void {
    if (save) this.#options.onReleased(save);
  }
}

function saveError(message: string, cause?: unknown): LockstepError {
  return new LockstepError({
    category: 'checkpoint',
    code: 'E_CHECKPOINT_SAVE',
    message,
    help: 'earlier checkpoints are intact; repair the disk and add --resume last',
    cause,
  });
}
