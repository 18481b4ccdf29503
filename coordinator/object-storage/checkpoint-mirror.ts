// A copy of a run in object storage: each checkpoint soon after it is on the disk, with the records as they
// are then; at the end everything that the run has left. It is made while training continues, one file
// after the other, the newest checkpoint first. While the store is away, what is missing there waits.
//
//   PREFIX/checkpoints/step-000000120.safetensors    | as in the run's directory, each with its SHA-256;
//   PREFIX/metrics.jsonl ...                         | a key names an object only once all of it is there
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  findSuperseded,
  generationOf,
  listGenerations,
  type Generation,
} from '../../src/checkpoint/find-checkpoint.ts';
import type { Config } from '../../src/config/schema.ts';
import { parseObjectUrl } from '../../src/config/object-url.ts';
import { SLICE_BYTES } from '../../src/durable-write.ts';
import { LockstepError, listNames, systemErrorCode } from '../../src/errors.ts';
import type { Logger } from '../../src/log.ts';
import { countOf } from '../../src/printable.ts';
import { openRegularFile } from '../../src/regular-file.ts';
import { copyObject, noAddress, patiently, type FetchOptions } from './fetch-objects.ts';
import { ObjectStore, StorageError, type UploadedFile } from './object-store.ts';

/** The folder of checkpoints, in a run's directory and under its prefix. */
const CHECKPOINTS = 'checkpoints';
/** Files that a run which resumes goes on writing. */
const RECORDS = ['config.yaml', 'metrics.jsonl', 'events.jsonl', 'output.log'];
/** Pauses after a failure double up to the longest. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 60_000;
/** Time at the end of a run in which the last files are to arrive. */
export const FINISH_DEADLINE_MS = 600_000;

/** A prefix of a bucket that holds one run. */
export class MirroredRun {
  readonly url: string;
  readonly store: ObjectStore;
  readonly #prefix: string;

  private constructor(url: string, store: ObjectStore, prefix: string) {
    this.url = url;
    this.store = store;
    this.#prefix = prefix;
  }

  /** @throws LockstepError for what is no address, or without the SDK */
  static async open(url: string): Promise<MirroredRun> {
    const place = parseObjectUrl(url);
    if (!place) throw noAddress(url);
    return new MirroredRun(url, await ObjectStore.open(place.bucket), place.key);
  }

  /** The key of a file of the run, by its path in the run's directory. */
  keyOf(name: string): string {
    return `${this.#prefix}/${name}`;
  }

  /** The checkpoints that are there, the newest first; their paths are keys. @throws StorageError */
  async list(): Promise<Generation[]> {
    const found = await this.store.list(this.keyOf(`${CHECKPOINTS}/`));
    return found.flatMap(({ key }) => generationOf(key) ?? []).sort((a, b) => b.step - a.step);
  }

  /**
   * Copies the newest of the checkpoints, the best one if that is another, and the records into a run's
   * directory. @throws LockstepError where the newest is damaged, unless an older one may take its place
   */
  async copyTo(
    directory: string,
    checkpoints: readonly Generation[],
    { allowOlder, ...options }: FetchOptions & { readonly allowOlder?: boolean | undefined },
  ): Promise<void> {
    for (const name of RECORDS) {
      const object = await patiently(() => this.store.describe(this.keyOf(name)), options).catch(
        (error: unknown) => {
          if (error instanceof LockstepError && error.code === 'E_S3_NO_OBJECT') return undefined;
          throw error;
        },
      );
      if (object) await copyObject(this.store, object, path.join(directory, name), options);
    }
    let rest = checkpoints;
    for (;;) {
      const mayFail = allowOlder && rest.length > 1;
      if (await this.#copyCheckpoint(directory, rest[0] as Generation, { ...options, mayFail })) break;
      rest = rest.slice(1);
    }
    const best = rest.slice(1).find(({ isBest }) => isBest);
    if (best && !rest[0]?.isBest) await this.#copyCheckpoint(directory, best, { ...options, mayFail: true });
  }

  /** Returns false for a damaged one that is not needed. @throws LockstepError */
  async #copyCheckpoint(
    directory: string,
    { path: key }: Generation,
    { mayFail, ...options }: FetchOptions & { readonly mayFail?: boolean | undefined },
  ): Promise<boolean> {
    const file = path.join(directory, CHECKPOINTS, path.basename(key));
    try {
      await copyObject(this.store, await patiently(() => this.store.describe(key), options), file, options);
      return true;
    } catch (error) {
      const isDamaged = error instanceof LockstepError && error.code === 'E_S3_DAMAGED';
      if (!isDamaged) throw error;
      options.say?.(error.message);
      if (mayFail) return false;
      throw new LockstepError({
        category: 'checkpoint',
        code: 'E_CHECKPOINT',
        message: error.message,
        help: 'add --allow-older to resume from the checkpoint before it, if there is one',
        cause: error,
      });
    }
  }
}

/** The run whose copy is made. */
export interface CheckpointMirrorOptions {
  readonly run: MirroredRun;
  readonly directory: string;
  /** Number of newest checkpoints that stay, besides the best one. */
  readonly numKept: number;
  /** Checkpoints that are there already. */
  readonly there: readonly Generation[];
  readonly log: Pick<Logger, 'info' | 'warn' | 'debug'>;
}

/** The run that is copied, and where, for another thread. */
export interface MirrorData extends Pick<CheckpointMirrorOptions, 'directory' | 'numKept' | 'there'> {
  readonly url: string;
}

/** Makes the copy of one run. */
export class CheckpointMirror {
  readonly #options: CheckpointMirrorOptions;
  readonly #abort = new AbortController();
  /** Names of checkpoints that are there as they are here. */
  readonly #copied: Set<string>;
  #isDue = false;
  #isEnding = false;
  #copying: Promise<void> | undefined;
  /** Cuts a pause short. */
  #wake = new AbortController();
  #numFailures = 0;
  /** The last failure. */
  #reason = '';
  /** Files that are still to be copied at the end; undefined before. */
  #missing: readonly string[] | undefined;

  constructor(options: CheckpointMirrorOptions) {
    this.#options = options;
    this.#copied = new Set(options.there.map(({ path: key }) => path.basename(key)));
    this.#start();
  }

  /** Copies a checkpoint that is on the disk, in its own time. */
  noteSaved(file: string): void {
    this.#copied.delete(path.basename(file));
    this.#start();
  }

  /**
   * Copies everything that the run has left, and waits for it.
   * @throws LockstepError (exit 5) that names what has not arrived in time
   */
  async finish(deadlineMs = FINISH_DEADLINE_MS): Promise<void> {
    const { directory, log, run } = this.#options;
    this.#isEnding = true;
    log.info(`waiting until the run is in ${run.url}`);
    this.#start();
    this.#wake.abort();
    const timer = new AbortController();
    const isLate = sleep(deadlineMs, true, { signal: timer.signal }).catch(() => false);
    const wasLate = await Promise.race([isLate, this.#copying?.then(() => false)]);
    timer.abort();
    if (wasLate) {
      this.#abort.abort(new Error('the run is over'));
      this.#wake.abort();
      await this.#copying;
    }
    run.store.close();
    const missing =
      this.#missing ?? (await this.#missingHere(await listGenerations(path.join(directory, CHECKPOINTS))));
    if (missing.length > 0) throw incomplete(run.url, missing, this.#reason);
    log.info(`the run is in ${run.url}`);
  }

  #start(): void {
    this.#isDue = true;
    this.#copying ??= this.#copyUntilDone();
  }

  async #copyUntilDone(): Promise<void> {
    while (this.#isDue && !this.#abort.signal.aborted) {
      this.#isDue = false;
      try {
        await this.#copyAll();
        if (this.#numFailures > 0) this.#options.log.info(`${this.#options.run.url} is up to date again`);
        this.#numFailures = 0;
      } catch (error) {
        this.#isDue = true;
        if (this.#abort.signal.aborted) break;
        this.#reason = (error as Error).message;
        // Nobody gives this run more rights at its end.
        if (this.#missing && error instanceof StorageError && !error.isTransient) break;
        await this.#pauseAfter();
      }
    }
    this.#copying = undefined;
  }

  async #pauseAfter(): Promise<void> {
    const { log, run } = this.#options;
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#numFailures++);
    const level = this.#numFailures === 1 || pauseMs === LONGEST_PAUSE_MS ? 'warn' : 'debug';
    log[level](
      `${run.url} is not up to date: ${this.#reason}; trying again in ${pauseMs / 1000} s, the run goes on`,
    );
    // At the end a pause that began before is not waited for.
    if (this.#wake.signal.aborted) this.#wake = new AbortController();
    await sleep(pauseMs, undefined, { signal: this.#wake.signal }).catch(() => undefined);
  }

  /** Copies what is missing there, and then removes what is not wanted any more. */
  async #copyAll(): Promise<void> {
    const { directory, run } = this.#options;
    const isEnding = this.#isEnding;
    const generations = await listGenerations(path.join(directory, CHECKPOINTS));
    // The records first: they are to hold every step up to the checkpoint.
    const names = isEnding
      ? await this.#missingHere(generations)
      : [...RECORDS, ...this.#notCopied(generations)];
    for (const [index, name] of names.entries()) {
      if (isEnding) this.#missing = names.slice(index);
      const base = path.basename(name);
      // One that is written anew meanwhile is taken off again.
      this.#copied.add(base);
      await this.#copy(name).catch((error: unknown) => {
        this.#copied.delete(base);
        throw error;
      });
    }
    if (isEnding) this.#missing = [];
    for (const { path: key } of this.#unwanted(await run.list(), generations)) await run.store.remove(key);
  }

  /** Names of all files that the end of the run has to copy. */
  async #missingHere(generations: readonly Generation[]): Promise<string[]> {
    return [...(await filesOf(this.#options.directory)), ...this.#notCopied(generations)];
  }

  #notCopied(generations: readonly Generation[]): string[] {
    return generations
      .filter(({ path: file }) => !this.#copied.has(path.basename(file)))
      .map(({ path: file }) => nameIn(this.#options.directory, file));
  }

  async #copy(name: string): Promise<void> {
    const { directory, log, run } = this.#options;
    const file = path.join(directory, name);
    try {
      const startMs = performance.now();
      const content = await hashFile(file);
      await run.store.upload(run.keyOf(name), content, this.#abort.signal);
      log.debug(`${name} copied in ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
    } catch (error) {
      // It has been retired, or is one that this run does not write.
      if (systemErrorCode(error) !== 'ENOENT') throw error;
    }
  }

  /** Checkpoints there that the run has gone back behind, has written anew, or does not keep. */
  #unwanted(there: readonly Generation[], here: readonly Generation[]): Generation[] {
    const newest = here[0]?.step ?? Infinity;
    const isHere = (name: string): boolean => here.some((own) => path.basename(own.path) === name);
    const stale = there.filter(
      ({ path: key, step }) =>
        !isHere(path.basename(key)) && (step > newest || here.some((own) => own.step === step)),
    );
    const rest = there.filter((generation) => !stale.includes(generation));
    return [...stale, ...findSuperseded(rest, this.#options.numKept)];
  }
}

/** Names of all files of a run but its checkpoints, its lock and what is half-written. */
async function filesOf(directory: string): Promise<string[]> {
  const entries = await fs.readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && !/^(\.|lock($|\.))/.test(entry.name))
    .map(({ name, parentPath }) => nameIn(directory, path.join(parentPath, name)))
    .filter((name) => !name.startsWith(`${CHECKPOINTS}/`));
}

function nameIn(directory: string, file: string): string {
  return path.relative(directory, file).split(path.sep).join('/');
}

/** The bytes that a file has now, of which records get more. @throws UnreadableFile */
async function hashFile(file: string): Promise<UploadedFile> {
  const { handle, stats } = await openRegularFile(file);
  try {
    const hash = createHash('sha256');
    const slice = Buffer.allocUnsafe(SLICE_BYTES);
    for (let done = 0; done < stats.size;) {
      const { bytesRead } = await handle.read(slice, 0, Math.min(slice.length, stats.size - done), done);
      if (bytesRead === 0) throw new Error(`${file} has become shorter`);
      hash.update(slice.subarray(0, bytesRead));
      done += bytesRead;
    }
    return { file, byteLength: stats.size, sha256: hash.digest('hex') };
  } finally {
    await handle.close();
  }
}

/**
 * Opens the place for the copy of a run.
 * @throws LockstepError (exit 2) if a run that begins would replace another's, or without the SDK
 */
export async function openMirror(
  { checkpoint }: Config,
  { isResuming, ...options }: FetchOptions & { readonly isResuming: boolean },
): Promise<Pick<MirrorData, 'url' | 'there'> | undefined> {
  if (!checkpoint || checkpoint.mirror === undefined) return undefined;
  const run = await MirroredRun.open(checkpoint.mirror);
  const there = await patiently(() => run.list(), options).finally(() => run.store.close());
  if (there.length === 0 || isResuming) return { url: run.url, there };
  throw new LockstepError({
    category: 'usage',
    code: 'E_MIRROR_EXISTS',
    message: `${run.url} holds ${countOf(there.length, 'checkpoint')} of a run`,
    help: 'resume it, with --resume auto and a --run-dir, or choose another prefix',
  });
}

/** @throws LockstepError (exit 2) where several runs would be copied to one place */
export function refuseMirror({ checkpoint }: Config, what: string): void {
  if (!checkpoint || checkpoint.mirror === undefined) return;
  throw new LockstepError({
    category: 'usage',
    code: 'E_MIRROR_MANY',
    message: `checkpoint.mirror is the place of one run, and ${what} has several`,
    help: 'remove it, and copy the directory at the end',
  });
}

function incomplete(url: string, missing: readonly string[], reason: string): LockstepError {
  const files = countOf(missing.length, 'file');
  return new LockstepError({
    category: 'network',
    code: 'E_MIRROR',
    message: `the run has ended, but ${files} did not reach ${url} (${reason || 'not in time'}): ${listNames(missing, 10)}`,
    help: 'the run directory has all of them',
  });
}
