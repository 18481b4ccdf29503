// Undoing what a worker may have done that was found to lie: the run goes back to a state from before the worker came,
// and takes the steps since then again. Only what another worker, too, had computed could stay.
import type { CheckpointStore } from '../src/checkpoint/checkpoint-store.ts';
import { readCheckpoint } from '../src/checkpoint/read-checkpoint.ts';
import type { Config } from '../src/config/schema.ts';
import { LockstepError } from '../src/errors.ts';
import type { Logger } from '../src/log.ts';
import type { NamedTensor } from '../src/safetensors.ts';
import { manifestOf, restoreCheckpoint } from './resume.ts';
import type { RunIdentity } from './run-identity.ts';
import { restoreSnapshot, snapshotOf } from './snapshot.ts';
import type { TrainingRollback } from './train.ts';
import type { TrainingProgress } from './training-progress.ts';
import type { TrainingState } from './training-state.ts';

/** What a rollback works with. */
export interface RollbackOptions {
  readonly policy: Config['audit']['onLie'];
  readonly state: TrainingState;
  readonly identity: RunIdentity;
  readonly store: CheckpointStore;
  /** Where this session of the run starts: all workers come later. */
  readonly start: TrainingProgress;
  readonly log: Logger;
  /** The state is back where this progress stood. */
  readonly onDone: (progress: TrainingProgress, from: string) => void;
}

/** A worker whose results were wrong. */
export interface Liar {
  readonly name: string;
  readonly reason: string;
  /** Optimizer steps that were taken before it came. */
  readonly joinedAtStep: number;
}

/** See the head of this file. With the policy `rollback` it holds a copy of the state that the session starts from. */
export class Rollback implements TrainingRollback {
  readonly #options: RollbackOptions;
  readonly #startStep: number;
  readonly #startTensors: ReadonlyMap<string, NamedTensor> | undefined;
  #liars: Liar[] = [];

  constructor(options: RollbackOptions) {
    this.#options = options;
    this.#startStep = options.state.step;
    this.#startTensors = options.policy === 'rollback' ? copyOf(options.state) : undefined;
  }

  /** Steps since the worker came may be wrong. */
  distrust(liar: Liar): void {
    if (this.#options.policy !== 'repair') this.#liars.push(liar);
  }

  get isNeeded(): boolean {
    return this.#liars.length > 0;
  }

  /**
   * Puts the state to the latest point before any liar came. Between two steps only.
   * @throws LockstepError (exit 1) where the policy is to stop.
   */
  async goBack(): Promise<TrainingProgress> {
    const liars = this.#liars;
    this.#liars = [];
    const { policy, store, log, onDone } = this.#options;
    if (policy === 'stop') throw stopped(liars);
    // What waits to be written may be wrong, too: it must be there to be taken back.
    await store.flush();
    const numTrusted = Math.min(...liars.map(({ joinedAtStep }) => joinedAtStep));
    const { progress, from } = (await this.#readBefore(numTrusted)) ?? this.#restart();
    log.warn(`going back to ${from}, from before ${liars.map(({ name }) => name).join(', ')} came`);
    onDone(progress, from);
    return progress;
  }

  async #readBefore(
    numSteps: number,
  ): Promise<{ readonly progress: TrainingProgress; readonly from: string } | undefined> {
    const { state, identity, store, log } = this.#options;
    for (const { path, step } of await store.list()) {
      try {
        const checkpoint = await readCheckpoint(path);
        if (manifestOf(checkpoint).optimizerSteps > numSteps) continue;
        const { progress } = restoreCheckpoint(checkpoint, state, identity);
        await store.continueFrom(step);
        return { progress, from: path };
      } catch (error) {
        if (!(error instanceof LockstepError)) throw error;
        log.warn(error.message);
      }
    }
    // None of them is from before.
    await store.continueFrom(-1);
    return undefined;
  }

  #restart(): { readonly progress: TrainingProgress; readonly from: string } {
    const { state, start } = this.#options;
    const from = 'where this session began';
    restoreSnapshot(state, this.#startTensors ?? new Map(), { step: this.#startStep, path: from });
    return { progress: start, from };
  }
}

function copyOf(state: TrainingState): ReadonlyMap<string, NamedTensor> {
  return new Map(
    snapshotOf(state).map(({ name, shape, values }) => [name, { shape, values: values.slice() }]),
  );
}

function stopped(liars: readonly Liar[]): LockstepError {
  const [first] = liars as readonly [Liar];
  return new LockstepError({
    category: 'failure',
    code: 'E_WORKER_LIED',
    message: `${first.name} computed wrong (${first.reason}), and the steps since step ${first.joinedAtStep} were not all checked`,
    help: 'mend or remove that machine, and start again; audit.onLie says what a run does about it',
  });
}
