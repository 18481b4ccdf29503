// The checkpoints of a run: a directory of files whose names say everything, written while training
// continues.
import fs from 'node:fs/promises';
import path from 'node:path';
import { makeDirectory, removeStaleTemporaries, syncDirectory, writeFileDurably } from '../durable-write.ts';
import type { WriteStage } from '../durable-write.ts';
import { type LockstepError } from '../errors.ts';
import { failpoint } from '../failpoint.ts';
import type { BeforeChange } from '../line-file.ts';
import type { Logger } from '../log.ts';
import { unreadable } from '../regular-file.ts';
import type { TensorSource } from '../safetensors.ts';
import { encodeCheckpoint, type EncodedCheckpoint } from './checkpoint-file.ts';
import {
  abandon,
  findSuperseded,
  type Generation,
  generationName,
  listAbandoned,
  listGenerations,
} from './find-checkpoint.ts';
import { SaveQueue } from './save-queue.ts';

/** Everything that a store is made from. */
export interface CheckpointStoreOptions {
  /** The directory, created if missing. */
  readonly directory: string;
  /** Number of newest checkpoints to keep, 1 or more; the best one is kept besides. */
  readonly numKept: number;
  /** Bytes of tensors that a checkpoint of the run will have; before the first epoch is over it has fewer. */
  readonly byteLength?: number | undefined;
  readonly logger: Pick<Logger, 'warn'>;
  /** Called before a file gets a name or loses it. */
  readonly beforeChange?: BeforeChange | undefined;
  /** Called when a checkpoint is safe. It must not throw. */
  readonly onSaved?: ((saved: SavedCheckpoint) => void) | undefined;
}

/** A checkpoint that is on the disk. */
export interface SavedCheckpoint extends Generation {
  readonly byteLength: number;
  /** Time from the first system call to the last. */
  readonly seconds: number;
}

interface Save extends Generation {
  readonly encoded: EncodedCheckpoint;
}

/** Time that the last save of a run may take. */
const FLUSH_DEADLINE_MS = 60_000;

/**
 * Writes, lists, reads and retires the checkpoints of one run. One process at a time: see
 * lockRunDirectory.
 */
export class CheckpointStore {
  readonly #options: CheckpointStoreOptions;
  readonly #queue: SaveQueue<Save>;
  /**
   * Memory of checkpoints that are written or replaced, for the next ones: touching new pages takes longer
   * than copying.
   */
  readonly #spares: Uint8Array[] = [];
  readonly #irremovable = new Set<string>();

  private constructor(options: CheckpointStoreOptions) {
    this.#options = options;
    this.#queue = new SaveQueue<Save>({
      write: (save) => this.#write(save),
      onReleased: ({ encoded }) => this.#spares.push(new Uint8Array(encoded.data.buffer)),
      logger: options.logger,
    });
  }

  /** Opens a directory and removes what a killed process left half-written in it. */
  static async open(options: CheckpointStoreOptions): Promise<CheckpointStore> {
    await makeDirectory(options.directory);
    await removeStaleTemporaries(options.directory);
    return new CheckpointStore(options);
  }

  /** The reason why nothing is written any more, if so: the run should stop. */
  get failure(): LockstepError | undefined {
    return this.#queue.failure;
  }

  /** Lists the checkpoints by name, newest first. */
  list(): Promise<Generation[]> {
    return listGenerations(this.#options.directory);
  }

  /**
   * Tells the store that the run resumes from `step`: newer checkpoints, damaged or unwanted, are no
   * longer listed.
   */
  async continueFrom(step: number): Promise<void> {
    const newer = (await this.list()).filter((generation) => generation.step > step);
    for (const generation of newer) {
      this.#options.beforeChange?.();
      await abandon(generation);
    }
    if (newer.length > 0) await syncDirectory(this.#options.directory);
  }

  /**
   * Queues a checkpoint and returns: tensors and manifest are copied at once and may change afterwards.
   * One that still waits is replaced by a newer one, unless it is the best so far. `isBest`: no earlier
   * one of the run is better.
   * @throws LockstepError (exit 4) if the manifest is too long, or the disk has failed for good
   */
  save(
    step: number,
    tensors: readonly TensorSource[],
    manifest: unknown,
    { isBest = false }: { readonly isBest?: boolean } = {},
  ): void {
    if (this.#queue.failure) throw this.#queue.failure;
    const takeMemory = (byteLength: number): Uint8Array => {
      this.#queue.makeRoom({ isBest });
      const spare = this.#spares.pop();
      if (spare && spare.byteLength >= byteLength) return spare;
      return new Uint8Array(Math.max(byteLength, this.#options.byteLength ?? 0));
    };
    const encoded = encodeCheckpoint({ step, isBest, tensors, manifest }, takeMemory);
    const file = path.join(this.#options.directory, generationName({ step, isBest }));
    this.#queue.add({ path: file, step, isBest, encoded });
  }

  /**
   * Waits until everything queued is on the disk.
   *
   * @throws LockstepError (exit 4) if something could not be written, or was not within the deadline; it
   * names the file
   */
  flush(deadlineMs = FLUSH_DEADLINE_MS): Promise<void> {
    return this.#queue.flush(deadlineMs);
  }

  async #write({ path: file, step, isBest, encoded }: Save): Promise<void> {
    const startedAt = performance.now();
    const { beforeChange } = this.#options;
    const onStage = (stage: WriteStage): void => void failpoint(`checkpoint.${stage}`, { step });
    await writeFileDurably(file, encoded.slices(), { beforeChange, onStage });
    const seconds = (performance.now() - startedAt) / 1000;
    await this.#retire(file, step);
    this.#options.onSaved?.({ path: file, step, isBest, byteLength: encoded.byteLength, seconds });
  }

  /** Removes what the checkpoint just written makes superfluous; what cannot be removed only takes space. */
  async #retire(written: string, step: number): Promise<void> {
    try {
      const generations = await this.list();
      const rewritten = generations.filter((other) => other.step === step && other.path !== written);
      const current = generations.filter((generation) => !rewritten.includes(generation));
      const superseded = findSuperseded(current, this.#options.numKept);
      const abandoned = await listAbandoned(this.#options.directory);
      const files = [...abandoned, ...[...rewritten, ...superseded].map((generation) => generation.path)];
      for (const file of files) await this.#remove(file);
    } catch (error) {
      this.#options.logger.warn(`old checkpoints cannot be removed: ${unreadable(error).message}`);
    }
  }

  /** Removes a file; a failure is retried after every save, and reported once. */
  async #remove(file: string): Promise<void> {
    try {
      this.#options.beforeChange?.();
      await fs.rm(file, { force: true });
    } catch (error) {
      if (this.#irremovable.has(file)) return;
      this.#irremovable.add(file);
      this.#options.logger.warn(`the old checkpoint ${file} cannot be removed: ${unreadable(error).message}`);
    }
  }
}
