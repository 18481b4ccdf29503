// Decides when a training is saved, and hands copies of it to the store, which writes them
// while training continues.
import { z } from 'zod';
import type { CheckpointConfig } from '../../src/config/schema.ts';
import type { CheckpointStore } from '../../src/checkpoint/checkpoint-store.ts';
import { VERSION } from '../../src/version.ts';
import { runIdentitySchema } from './run-identity.ts';
import type { RunIdentity } from './run-identity.ts';
import { snapshotOf } from './snapshot.ts';
import { stepsDone, trainingProgressSchema } from '../training/training-progress.ts';
import type { TrainingProgress } from '../training/training-progress.ts';
import type { TrainingCheckpointer } from '../training/train.ts';
import type { TrainingState } from '../training/training-state.ts';

/** The manifest of a checkpoint: everything besides its tensors. */
export const checkpointManifestSchema = z.strictObject({
  /** Version of the program that wrote it. */
  lockstep: z.string(),
  name: z.string(),
  /** Optimizer steps taken. */
  optimizerSteps: z.int().min(0),
  /** Time that the run has taken so far, loading and validation included. */
  wallSeconds: z.number(),
  identity: runIdentitySchema,
  progress: trainingProgressSchema,
});

export type CheckpointManifest = z.output<typeof checkpointManifestSchema>;

/** The parts and settings of a checkpointer. */
export interface CheckpointerOptions {
  readonly config: CheckpointConfig;
  readonly name: string;
  readonly identity: RunIdentity;
  readonly stepsPerEpoch: number;
  readonly state: TrainingState;
  readonly store: CheckpointStore;
  /** The progress at which the run starts or resumes. */
  readonly start: TrainingProgress;
  /** Time that the run has taken so far. */
  readonly wallSeconds: () => number;
}

/** The checkpointer of one run. */
export class Checkpointer implements TrainingCheckpointer {
  readonly #options: CheckpointerOptions;
  #progress: TrainingProgress;
  #saved: TrainingProgress;
  /** Optimizer steps of the state where the progress stands. */
  #optimizerSteps: number;
  #savedMs: number;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
    this.#progress = options.start;
    this.#saved = options.start;
    this.#optimizerSteps = options.state.step;
    this.#savedMs = performance.now();
  }

  afterStep(progress: TrainingProgress): void {
    this.#reach(progress);
    const { everySteps, everySeconds } = this.#options.config;
    const isDue = everySteps !== undefined && this.#stepOf(progress) % everySteps === 0;
    if (isDue || performance.now() - this.#savedMs >= 1000 * everySeconds) this.#save(false);
  }

  afterEpoch(progress: TrainingProgress, isBest: boolean): void {
    this.#reach(progress);
    if (isBest || progress.history.length % this.#options.config.everyEpochs === 0) this.#save(isBest);
  }

  beforeCut(progress: TrainingProgress): void {
    this.#reach(progress);
    if (progress !== this.#saved) this.#save(false);
  }

  /** Takes note that the state is back at this progress, which needs no saving. */
  wentBack(progress: TrainingProgress): void {
    this.#reach(progress);
    this.#saved = progress;
  }

  /**
   * Saves the progress, unless that is saved already, and waits until it is on the disk. A state
   * that was being rolled back when the run ended is not saved: the checkpoints that exist are
   * the ones to resume from.
   */
  async finish(): Promise<void> {
    const isThere = this.#options.state.step === this.#optimizerSteps;
    if (isThere && this.#progress !== this.#saved) this.#save(false);
    await this.#options.store.flush();
  }

  /**
   * Tells whether there is a checkpoint to resume from: there is none if the run
   * ended before its first step.
   */
  async hasSaved(): Promise<boolean> {
    return (await this.#options.store.list()).length > 0;
  }

  #reach(progress: TrainingProgress): void {
    this.#progress = progress;
    this.#optimizerSteps = this.#options.state.step;
  }

  #save(isBest: boolean): void {
    const { name, identity, state, store, wallSeconds } = this.#options;
    const progress = this.#progress;
    const manifest: CheckpointManifest = {
      lockstep: VERSION,
      name,
      optimizerSteps: state.step,
      wallSeconds: wallSeconds(),
      identity,
      progress,
    };
    this.#saved = progress;
    this.#savedMs = performance.now();
    store.save(this.#stepOf(progress), snapshotOf(state), manifest, { isBest });
  }

  #stepOf(progress: TrainingProgress): number {
    return stepsDone(progress, this.#options.stepsPerEpoch);
  }
}
