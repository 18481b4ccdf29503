// Undoing the work of a worker that was found to lie: the run is rolled back to a state that does
// not rest on its word alone, and takes the steps since then again. Nothing is kept for this
// besides checkpoints: where no checkpoint is old enough, the run starts over.
import type { CheckpointStore } from '../../src/checkpoint/checkpoint-store.ts';
import { readCheckpoint } from '../../src/checkpoint/checkpoint-file.ts';
import type { Config } from '../../src/config/schema.ts';
import { LockstepError } from '../../src/errors.ts';
import type { Logger } from '../../src/log.ts';
import { manifestOf, restoreCheckpoint } from './resume.ts';
import type { ExpectedRun } from './resume.ts';
import { restoreSnapshot, snapshotOf } from './snapshot.ts';
import type { TrainingRollback } from '../training/train.ts';
import { FIRST_PROGRESS } from '../training/training-progress.ts';
import type { TrainingProgress } from '../training/training-progress.ts';
import type { TrainingState } from '../training/training-state.ts';

/** The parts and settings of a rollback. */
export interface RollbackOptions extends ExpectedRun {
  readonly policy: Config['audit']['onLie'];
  readonly state: TrainingState;
  readonly store: CheckpointStore;
  /** The checkpoint that the session resumed from, if any; it may be another run's. */
  readonly source: string | undefined;
  /** Makes the state that the run started with once more. */
  readonly recreateInitial: () => Promise<TrainingState>;
  readonly log: Logger;
  /** Called when the state is back at this progress. */
  readonly onDone: (progress: TrainingProgress, from: string) => void;
}

/** A worker whose results were wrong. */
export interface Liar {
  readonly name: string;
  readonly reason: string;
  /** Optimizer steps of the newest state that does not rest on its word alone. */
  readonly trustedSteps: number;
}

/** A point that a run can be rolled back to. */
interface Origin {
  readonly progress: TrainingProgress;
  /** The name of the point, for people. */
  readonly from: string;
}

/** The name, for people, of the point before the first step. */
export const THE_BEGINNING = 'the beginning';

/** The rollback of one run. */
export class Rollback implements TrainingRollback {
  readonly #options: RollbackOptions;
  #liars: Liar[] = [];

  constructor(options: RollbackOptions) {
    this.#options = options;
  }

  /**
   * Steps after those that can be trusted may be wrong.
   * @throws LockstepError (exit 1) where the policy is to stop: at once, for the current step may
   * wait for other workers to join
   */
  distrust(liar: Liar): void {
    const { policy } = this.#options;
    if (policy === 'stop') throw stopped(liar);
    if (policy === 'rollback') this.#liars.push(liar);
  }

  get isNeeded(): boolean {
    return this.#liars.length > 0;
  }

  /** Restores the latest state that does not rest on a liar's word. To be called between two steps only. */
  async rollBack(): Promise<TrainingProgress> {
    const liars = this.#liars;
    this.#liars = [];
    const { store, log, onDone } = this.#options;
    // What waits to be written may be wrong, too: it must be there to be taken back.
    await store.flush();
    const numTrusted = Math.min(...liars.map(({ trustedSteps }) => trustedSteps));
    const { progress, from } = (await this.#readBefore(numTrusted)) ?? (await this.#beginAgain());
    const names = liars.map(({ name }) => name).join(', ');
    log.warn(
      `rolling back to ${from}: the steps after step ${Math.max(0, numTrusted)} rest on unchecked results of ${names}`,
    );
    onDone(progress, from);
    return progress;
  }

  async #readBefore(numSteps: number): Promise<Origin | undefined> {
    const { state, store, source, log } = this.#options;
    const files = (await store.list()).map(({ path }) => path);
    if (source !== undefined && !files.includes(source)) files.push(source);
    for (const file of files) {
      try {
        const checkpoint = await readCheckpoint(file);
        if (manifestOf(checkpoint).optimizerSteps > numSteps) continue;
        const { progress } = restoreCheckpoint(checkpoint, state, this.#options);
        await store.continueFrom(checkpoint.step);
        return { progress, from: file };
      } catch (error) {
        if (!(error instanceof LockstepError)) throw error;
        log.warn(error.message);
      }
    }
    return undefined;
  }

  async #beginAgain(): Promise<Origin> {
    const { state, store, recreateInitial } = this.#options;
    const initial = new Map(snapshotOf(await recreateInitial()).map(({ name, ...tensor }) => [name, tensor]));
    const from = THE_BEGINNING;
    await store.continueFrom(-1);
    restoreSnapshot(state, initial, { step: 0, path: from });
    return { progress: FIRST_PROGRESS, from };
  }
}

function stopped({ name, reason, trustedSteps }: Liar): LockstepError {
  return new LockstepError({
    category: 'failure',
    code: 'E_WORKER_LIED',
    message: `${name} sent wrong results (${reason}), and not all of its results after step ${Math.max(0, trustedSteps)} were checked`,
    help: 'repair or remove that machine and start again; audit.onLie sets what a run does in this case',
  });
}
