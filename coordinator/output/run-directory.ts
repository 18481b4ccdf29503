// The directory that holds everything one run leaves behind: its layout, and the checks that it can
// be written before any training time is spent.
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import fs, { constants } from 'node:fs/promises';
import path from 'node:path';
import { lockRunDirectory, type LockOptions, type RunLock } from '../../src/checkpoint/run-lock.ts';
import { LockstepError, systemErrorCode } from '../../src/errors.ts';
import {
  makeDirectory,
  removeStaleTemporaries,
  temporaryFor,
  writeFileDurably,
} from '../../src/durable-write.ts';
import { cutTornLine } from '../../src/line-file.ts';
import { formatBytes } from '../../src/memory.ts';
import { stringifyRecord } from '../../src/json.ts';
import { UnreadableFile } from '../../src/regular-file.ts';
import { causeInWords, writeResultFile } from './results.ts';
import { directoryName, linkLatest, makeFreshDirectory } from './run-names.ts';
import type { Summary } from './summary.ts';

/** The place of a run's results, and whether they are new. */
export interface RunDirectoryOptions {
  /** The run's name, already checked by the config schema. */
  readonly name: string;
  /** A directory of the user's choice; default: `runs/<YYYYMMDD-HHMMSS>-<name>`. */
  readonly directory?: string | undefined;
  /** Parent of directories we name ourselves; default `runs`. */
  readonly parent?: string | undefined;
  /** Continue what `directory` holds instead of refusing it. */
  readonly isResuming?: boolean | undefined;
  /** The lock of `directory`, where that was taken before. */
  readonly lock?: RunLock | undefined;
  /** Seconds for which this process may give no sign of life before another may take the directory. */
  readonly lease?: number | undefined;
  /** The address at which workers are taken. */
  readonly address?: string | undefined;
  /** Bytes that model and records may take; refused when the disk has fewer. */
  readonly bytesNeeded?: number | undefined;
  /** Default: now. */
  readonly startedAt?: Date | undefined;
}

/**
 * An attempt fails when another run removes the directory at that moment, which does not happen
 * this often.
 */
const ENTER_ATTEMPTS = 10;

/** The folder of checkpoints in a run's directory. */
export const CHECKPOINTS_FOLDER = 'checkpoints';

/** The directories that were made for a run, and its lock. */
interface RunDirectoryOrigin {
  readonly lock: RunLock;
  /** Directories made for it, the outermost first: its own and those above it. */
  readonly made: readonly string[];
  /** Folders made inside it. */
  readonly folders: readonly string[];
  /** The folder whose link `latest` is to lead to it; undefined for a directory of the user's choice. */
  readonly parent: string | undefined;
}

/** The paths of one run. */
export class RunDirectory {
  readonly path: string;
  readonly configPath: string;
  readonly metricsPath: string;
  readonly csvPath: string;
  readonly tensorboardPath: string;
  readonly eventsPath: string;
  readonly logPath: string;
  readonly summaryPath: string;
  readonly reportPath: string;
  readonly plotsPath: string;
  readonly modelPath: string;
  readonly checkpointsPath: string;
  /** Undefined where a run is only read. */
  readonly #origin: RunDirectoryOrigin | undefined;
  #isLatest = false;

  constructor(directory: string, origin?: RunDirectoryOrigin) {
    this.#origin = origin;
    this.path = directory;
    this.configPath = path.join(directory, 'config.yaml');
    this.metricsPath = path.join(directory, 'metrics.jsonl');
    this.csvPath = path.join(directory, 'metrics.csv');
    this.tensorboardPath = path.join(directory, 'tensorboard');
    this.eventsPath = path.join(directory, 'events.jsonl');
    this.logPath = path.join(directory, 'output.log');
    this.summaryPath = path.join(directory, 'summary.json');
    this.reportPath = path.join(directory, 'report.html');
    this.plotsPath = path.join(directory, 'plots');
    this.modelPath = path.join(directory, 'model');
    this.checkpointsPath = path.join(directory, CHECKPOINTS_FOLDER);
  }

  /** The owner before, if its lock was taken away. */
  get predecessor(): RunLock['predecessor'] {
    return this.#origin?.lock.predecessor;
  }

  /** Makes sure that the directory is still ours, by time. @throws LockstepError (E_LEASE_LOST, exit 1) */
  readonly requireHeld = (): void => this.#origin?.lock.requireHeld();

  /** Makes sure that the directory is still ours, by its lock. @throws LockstepError (E_LEASE_LOST, exit 1) */
  readonly requireSurely = (): void => this.#origin?.lock.requireSurely();

  /** The error once the directory is no longer ours. */
  get loss(): LockstepError | undefined {
    return this.#origin?.lock.loss;
  }

  /** Has `onLost` called with the error once the directory is no longer ours. */
  whenLost(onLost: (error: LockstepError) => void): void {
    if (this.#origin) this.#origin.lock.onLost = onLost;
  }

  /**
   * Removes what a killed process left half-written. Only the holder of the lock may: others may be
   * writing. What an owner that is only paused still appends to or renames does not reach the run either.
   */
  async removeLeftovers(): Promise<void> {
    await Promise.all([this.path, this.modelPath].map(removeStaleTemporaries));
    if (this.predecessor?.isDead !== false) return;
    for (const file of [this.metricsPath, this.eventsPath, this.logPath, this.csvPath]) {
      await replaceByCopy(file, this.requireSurely);
    }
  }

  /**
   * Opens files of the directory that are appended to.
   * @throws LockstepError (exit 1) for what cannot be written.
   */
  openRecords<Records>(open: () => Records): Records {
    try {
      return open();
    } catch (error) {
      if (systemErrorCode(error) === undefined && !(error instanceof UnreadableFile)) throw error;
      const { path: file = this.path } = error as NodeJS.ErrnoException;
      throw unwritable(file, error);
    }
  }

  /** Names of the plots that are drawn: those of the whole run, its losses first, then those of its splits. */
  get drawnPlots(): string[] {
    const order = ['loss-curves', 'metrics', '', 'validation-', 'test-'];
    const place = (name: string): number => {
      const found = order.findIndex((start) => start !== '' && name.startsWith(start));
      return found === -1 ? order.indexOf('') : found;
    };
    return namesIn(this.plotsPath)
      .flatMap((file) => /^([\w-]+)\.svg$/.exec(file)?.[1] ?? [])
      .sort((a, b) => place(a) - place(b) || a.localeCompare(b));
  }

  /** Tells whether it holds steps of a run that has not finished. */
  async hasUnfinishedSteps(): Promise<boolean> {
    return !(await exists(this.summaryPath)) && hasContent(this.metricsPath);
  }

  /** Makes `runs/latest` lead here, once there is a checkpoint or a model to use. Warns once if it cannot. */
  becomeLatest(warn: (message: string) => void): void {
    const parent = this.#origin?.parent;
    if (parent === undefined || this.#isLatest) return;
    this.#isLatest = true;
    linkLatest(parent, path.basename(this.path), warn);
  }

  /** Releases the directory; a run that has not started leaves no trace. */
  async close(): Promise<void> {
    if (!this.#origin) return;
    if (await exists(this.logPath)) this.#origin.lock.release();
    else await discard(this.#origin);
  }

  /** The resolved config, as YAML text. @throws LockstepError (exit 4) if the disk refuses it. */
  async writeConfig(yaml: string): Promise<void> {
    await writeResultFile(this.configPath, yaml, this.requireSurely);
  }

  /**
   * Writes the summary, whose presence marks the run as finished.
   * @throws LockstepError (exit 4) if the disk refuses it.
   */
  async writeSummary(summary: Summary): Promise<void> {
    await writeResultFile(this.summaryPath, `${stringifyRecord(summary, 2)}\n`, this.requireSurely);
  }
}

/**
 * Makes (or, when resuming, enters) a run's directory, takes its lock, and makes its folders.
 * Throws E_RUN_EXISTS if it holds another run or files that a run would overwrite, E_RUN_IN_USE if
 * another run has it, E_RUN_DIR if it cannot be written.
 */
export async function openRunDirectory(options: RunDirectoryOptions): Promise<RunDirectory> {
  const { directory, parent = 'runs', isResuming = false, bytesNeeded = 0, startedAt = new Date() } = options;
  const { address, lease } = options;
  const wanted = directory ?? path.join(parent, directoryName(options.name, startedAt));
  const requireFree = async (): Promise<void> => {
    if (directory !== undefined && !isResuming) await refuseOccupied(new RunDirectory(directory));
  };
  const { lock: taken } = options;
  if (!taken) await requireFree();
  const { place, made, lock } = taken
    ? { place: wanted, made: [], lock: taken }
    : await enter(wanted, { isFresh: directory === undefined, address, lease });
  const folders: string[] = [];
  const origin = { lock, made, folders, parent: directory === undefined ? parent : undefined };
  try {
    // Another run may have been here, and ended, in the meantime.
    await requireFree();
    const run = new RunDirectory(place, origin);
    // Checkpoints first: their folder shows that the others are of a run, should this process die here.
    for (const folder of [run.checkpointsPath, run.plotsPath, run.modelPath]) {
      folders.push(...(await makeDirectory(folder)));
    }
    await requireSpace(run.path, bytesNeeded);
    return run;
  } catch (error) {
    await discard(origin);
    throw refusal(wanted, error);
  }
}

type Entered = Pick<RunDirectoryOrigin, 'lock' | 'made'> & { readonly place: string };

/** Makes the directory, if necessary, and takes its lock. */
async function enter(
  wanted: string,
  { isFresh, ...options }: LockOptions & { readonly isFresh: boolean },
): Promise<Entered> {
  for (let attempt = 1; ; attempt++) {
    const made: string[] = [];
    try {
      const place = isFresh ? await makeFreshDirectory(wanted, made) : wanted;
      if (!isFresh) made.push(...(await makeDirectory(wanted)));
      await probe(place);
      return { place, made, lock: await lockRunDirectory(place, options) };
    } catch (error) {
      await removeEmpty(made);
      if (hasVanished(error) && attempt < ENTER_ATTEMPTS) continue;
      throw refusal(wanted, error);
    }
  }
}

/**
 * True if another run made the directory too and is removing it just now: it exists, and then it
 * does not.
 */
function hasVanished(error: unknown): boolean {
  const code = systemErrorCode(error instanceof LockstepError ? error.cause : error);
  return code === 'ENOENT' || code === 'EEXIST';
}

/**
 * Removes only what this run has made and nobody has entered since: without the lock, the folders
 * may be another's.
 */
async function discard({ lock, made, folders }: RunDirectoryOrigin): Promise<void> {
  await removeEmpty(folders);
  lock.release();
  await removeEmpty(made);
}

function refusal(wanted: string, error: unknown): LockstepError {
  if (error instanceof LockstepError) return error;
  // The path of any other failure may be that of a temporary file.
  const inTheWay = systemErrorCode(error) === 'EEXIST' ? (error as NodeJS.ErrnoException).path : undefined;
  return unwritable(inTheWay ?? wanted, error);
}

/**
 * Makes a directory for a run, or makes sure that it can be written; returns what was made, the outermost first.
 * @throws LockstepError (E_RUN_DIR, exit 1) if that is not possible
 */
export async function makeRunDirectory(directory: string): Promise<string[]> {
  const made: string[] = [];
  try {
    made.push(...(await makeDirectory(directory)));
    await probe(directory);
    return made;
  } catch (error) {
    await removeEmpty(made);
    throw refusal(directory, error);
  }
}

/** @throws LockstepError (exit 2) if a directory holds a run, or files that one would overwrite */
export async function refuseOccupied(run: RunDirectory): Promise<void> {
  if (await exists(run.summaryPath)) throw occupied(run.path, 'a finished run');
  // A run that ended before its first step left an empty file, and nothing to lose.
  if (await run.hasUnfinishedSteps())
    throw occupied(run.path, 'an unfinished run', ', or resume it: --resume last');
  if (await exists(run.checkpointsPath)) return;
  // No run was ever here, so these are somebody else's.
  for (const file of [
    run.configPath,
    run.eventsPath,
    run.csvPath,
    run.tensorboardPath,
    run.reportPath,
    run.logPath,
    run.modelPath,
    run.plotsPath,
  ]) {
    if (await exists(file)) throw occupied(run.path, `a ${path.basename(file)} that no run wrote`);
  }
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

async function hasContent(file: string): Promise<boolean> {
  return (await exists(file)) && (await fs.stat(file)).size > 0;
}

function occupied(directory: string, what: string, elseHelp = ''): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_RUN_EXISTS',
    message: `${directory} holds ${what}`,
    help: `choose another --run-dir${elseHelp}`,
  });
}

/** Gives a file that grows another inode: who has it open from before appends to what nobody reads. */
async function replaceByCopy(file: string, beforeChange: () => void): Promise<void> {
  if (!(await exists(file))) return;
  const copy = temporaryFor(file);
  await fs.copyFile(file, copy, constants.COPYFILE_FICLONE);
  cutTornLine(copy);
  beforeChange();
  await fs.rename(copy, file);
}

/** Writes something, since mkdir succeeds on directories that exist but are read-only. */
async function probe(directory: string): Promise<void> {
  const file = path.join(directory, `.probe.${randomBytes(6).toString('hex')}`);
  await writeFileDurably(file, 'x');
  await fs.rm(file);
}

async function requireSpace(directory: string, bytesNeeded: number): Promise<void> {
  const { bavail, bsize } = await fs.statfs(directory);
  const bytesFree = bavail * bsize;
  if (bytesFree >= bytesNeeded) return;
  throw new LockstepError({
    category: 'failure',
    code: 'E_RUN_DIR',
    message: `cannot write ${directory}: no space left (need ${formatBytes(bytesNeeded)}, free ${formatBytes(bytesFree)})`,
    help: 'free some space, or choose another disk with --run-dir',
  });
}

function unwritable(directory: string, cause: unknown): LockstepError {
  return new LockstepError({
    category: 'failure',
    code: 'E_RUN_DIR',
    message: `cannot write ${directory}: ${causeInWords(cause)}`,
    help: 'choose another directory with --run-dir',
    cause,
  });
}

/** Removes directories as far as they are empty. */
async function removeEmpty(made: readonly string[]): Promise<void> {
  for (const directory of made.toReversed()) await fs.rmdir(directory).catch(() => undefined);
}

async function exists(file: string): Promise<boolean> {
  return fs.access(file).then(
    () => true,
    () => false,
  );
}
