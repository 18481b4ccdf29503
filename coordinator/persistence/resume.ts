// Resuming from a checkpoint: finds the run and the file that are meant, and checks that the run
// may resume with this config.
import fs from 'node:fs/promises';
import path from 'node:path';
import { isObjectUrl } from '../../src/config/object-url.ts';
import { listGenerations, readBest, readLast } from '../../src/checkpoint/find-checkpoint.ts';
import type { FindOptions, Generation } from '../../src/checkpoint/find-checkpoint.ts';
import { readCheckpoint } from '../../src/checkpoint/checkpoint-file.ts';
import type { Checkpoint } from '../../src/checkpoint/checkpoint-file.ts';
import { LockstepError, systemErrorCode } from '../../src/errors.ts';
import { checkpointManifestSchema } from './checkpointer.ts';
import type { CheckpointManifest } from './checkpointer.ts';
import { MirroredRun } from '../object-storage/checkpoint-mirror.ts';
import { localPath, patiently } from '../object-storage/fetch-objects.ts';
import type { FetchOptions } from '../object-storage/fetch-objects.ts';
import { CHECKPOINTS_FOLDER, RunDirectory } from '../output/run-directory.ts';
import { requireSameRun } from './run-identity.ts';
import type { RunIdentity } from './run-identity.ts';
import { restoreSnapshot } from './snapshot.ts';
import { stepsDone } from '../training/training-progress.ts';
import type { TrainingState } from '../training/training-state.ts';

/** The checkpoint to resume from: the newest or best one of a run, or a file. */
export type ResumeSource =
  | { readonly directory: string; readonly checkpoint: 'last' | 'best' }
  /** A run that was cut off before its first checkpoint, and begins again. */
  | { readonly directory: string; readonly checkpoint: 'none' }
  /** A run in object storage, to be copied to the directory first: to a new one where none is named. */
  | { readonly directory: string | undefined; readonly checkpoint: MirroredCheckpoints }
  | {
      /** The directory of the run that the file belongs to; undefined if it belongs to none. */
      readonly directory: string | undefined;
      readonly checkpoint: { readonly file: string };
    };

/** A run in object storage, and its checkpoints, the newest first. */
export interface MirroredCheckpoints {
  readonly run: MirroredRun;
  readonly there: readonly Generation[];
}

/**
 * Finds what `--resume` means: `last` and `best` are of the run in `runDirectory` or, without one,
 * of the newest run of that name under `parent`; `auto` is the last one of `runDirectory`, and
 * undefined where no run has begun there, nor has the mirror a newer one; anything else is the path or
 * the `s3://` address of a checkpoint, or of a run whose last one is meant.
 * @throws LockstepError (exit 4) where there is none, (exit 2) for `auto` without a directory
 */
export async function findResumeSource({
  resume,
  runDirectory,
  name,
  parent = 'runs',
  mirror,
  ...fetching
}: FetchOptions & {
  readonly resume: string;
  readonly runDirectory: string | undefined;
  readonly name: string;
  readonly parent?: string | undefined;
  /** The address of the copy of the run. */
  readonly mirror?: string | undefined;
}): Promise<ResumeSource | undefined> {
  if (resume === 'auto') return findNewest(runDirectory, mirror, fetching);
  if (isObjectUrl(resume)) return findMirrored(resume, fetching);
  if (resume === 'last' || resume === 'best') {
    const directory = path.resolve(runDirectory ?? (await newestRun(parent, name)));
    await requireCheckpoints(directory);
    return { directory, checkpoint: resume };
  }
  const file = path.resolve(resume);
  if (!(await isDirectory(file))) return { directory: await runOf(file), checkpoint: { file } };
  const directory = await runAt(file);
  await requireCheckpoints(directory);
  return { directory, checkpoint: 'last' };
}

/** The run that an unattended command continues, whatever has ended it before. */
async function findInterrupted(runDirectory: string | undefined): Promise<ResumeSource | undefined> {
  if (runDirectory === undefined) throw autoWhere();
  const directory = path.resolve(runDirectory);
  const run = new RunDirectory(directory);
  if ((await listGenerations(run.checkpointsPath)).length > 0) return { directory, checkpoint: 'last' };
  return (await run.hasUnfinishedSteps()) ? { directory, checkpoint: 'none' } : undefined;
}

/** The run that an unattended command continues: in its directory, or further on in the mirror. */
async function findNewest(
  runDirectory: string | undefined,
  mirror: string | undefined,
  fetching: FetchOptions,
): Promise<ResumeSource | undefined> {
  const here = await findInterrupted(runDirectory);
  if (mirror === undefined || runDirectory === undefined) return here;
  const run = await MirroredRun.open(mirror);
  const there = await patiently(() => run.list(), fetching);
  const { checkpointsPath } = new RunDirectory(path.resolve(runDirectory));
  const [newest] = await listGenerations(checkpointsPath);
  if (!there[0] || (newest && newest.step >= there[0].step)) return here;
  return { directory: path.resolve(runDirectory), checkpoint: { run, there } };
}

/** The run at an address, or one of its checkpoints. @throws LockstepError (exit 4) where there is none */
async function findMirrored(url: string, fetching: FetchOptions): Promise<ResumeSource> {
  const { name, place } = splitAddress(url);
  const run = await MirroredRun.open(place);
  const all = await patiently(() => run.list(), fetching);
  const there = name === undefined ? all : all.filter(({ path: key }) => path.posix.basename(key) === name);
  if (there.length === 0) throw notFound(`${url} holds no checkpoint to resume from`);
  return { directory: undefined, checkpoint: { run, there } };
}

/** The address of a run, and the name of one of its checkpoints if that is meant. */
function splitAddress(url: string): { readonly place: string; readonly name: string | undefined } {
  const [, place = url, name] = /^(s3:.+?)\/+checkpoints(?:\/+([^/]+\.safetensors))?\/*$/.exec(url) ?? [];
  return { place, name };
}

/** Copies a run in object storage to its directory; any other source stays as it is. @throws LockstepError */
export async function copyHere(
  source: ResumeSource | undefined,
  directory: string,
  options: FetchOptions & Pick<FindOptions, 'allowOlder'>,
): Promise<ResumeSource | undefined> {
  if (!source || typeof source.checkpoint === 'string' || !('run' in source.checkpoint)) return source;
  const { run, there } = source.checkpoint;
  await run.copyTo(directory, there, options);
  return { directory, checkpoint: 'last' };
}

/** The run that a directory is, or whose checkpoints it holds. */
async function runAt(directory: string): Promise<string> {
  const holdsThem =
    path.basename(directory) === CHECKPOINTS_FOLDER && (await listGenerations(directory)).length > 0;
  return holdsThem ? path.dirname(directory) : directory;
}

/**
 * Reads the checkpoint; undefined for a run that has none and begins again.
 * @throws LockstepError (exit 4) for a file that is missing or damaged
 */
export async function readSource(
  { directory, checkpoint }: ResumeSource,
  options: FindOptions,
): Promise<Checkpoint | undefined> {
  if (checkpoint === 'none') return undefined;
  if (typeof checkpoint !== 'string') return readCheckpoint(await fileOf(checkpoint));
  const { checkpointsPath } = new RunDirectory(directory);
  const found =
    checkpoint === 'last' ? await readLast(checkpointsPath, options) : await readBest(checkpointsPath);
  if (found) return found;
  throw notFound(`${checkpointsPath} holds no ${checkpoint === 'best' ? 'best ' : ''}checkpoint`);
}

/** The file of a checkpoint; of a run in object storage a copy of the newest one, as a dry run wants it. */
async function fileOf(checkpoint: MirroredCheckpoints | { readonly file: string }): Promise<string> {
  if ('file' in checkpoint) return checkpoint.file;
  const [newest] = checkpoint.there;
  return localPath(checkpoint.run.store.urlOf((newest as Generation).path));
}

/** The run that a checkpoint must be of. */
export interface ExpectedRun {
  readonly identity: RunIdentity;
  readonly stepsPerEpoch: number;
}

/**
 * Restores the state and returns the manifest.
 * @throws LockstepError (exit 4) for a checkpoint of another run, or one that no run can have
 * reached; the state is then as before.
 */
export function restoreCheckpoint(
  checkpoint: Checkpoint,
  state: TrainingState,
  { identity, stepsPerEpoch }: ExpectedRun,
): CheckpointManifest {
  const { path, tensors } = checkpoint;
  const manifest = manifestOf(checkpoint);
  requireSameRun(manifest.identity, identity, path);
  requireReachable(checkpoint, manifest, stepsPerEpoch);
  restoreSnapshot(state, tensors, { step: manifest.optimizerSteps, path });
  return manifest;
}

/** Refuses counts that are not those of one training: it would never end, or end in the wrong place. */
function requireReachable(
  { path, step }: Checkpoint,
  { optimizerSteps, progress }: CheckpointManifest,
  stepsPerEpoch: number,
): void {
  const { batchesDone, history } = progress;
  const refuse = (problem: string): LockstepError =>
    new LockstepError({
      category: 'checkpoint',
      code: 'E_CHECKPOINT_FORMAT',
      message: `${path}: ${problem}`,
      help: 'no run can reach this state: resume from another checkpoint',
    });
  if (batchesDone > stepsPerEpoch) {
    throw refuse(`progress.batchesDone is ${batchesDone}, an epoch has ${stepsPerEpoch} steps`);
  }
  if (step !== stepsDone(progress, stepsPerEpoch)) {
    throw refuse(`its step is ${step}, its progress ${stepsDone(progress, stepsPerEpoch)} steps`);
  }
  if (optimizerSteps > step) throw refuse(`optimizerSteps is ${optimizerSteps}, after ${step} steps`);
  const wrong = history.findIndex(({ epoch }, index) => epoch !== index + 1);
  if (wrong !== -1)
    throw refuse(`progress.history.${wrong}.epoch is ${history[wrong]?.epoch}, not ${wrong + 1}`);
}

/**
 * Parses the manifest of a checkpoint.
 * @throws LockstepError (exit 4) if this version writes another format.
 */
export function manifestOf({ manifest, path }: Pick<Checkpoint, 'manifest' | 'path'>): CheckpointManifest {
  const parsed = checkpointManifestSchema.safeParse(manifest);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new LockstepError({
    category: 'checkpoint',
    code: 'E_CHECKPOINT_FORMAT',
    message: `${path}: ${issue?.path.join('.') ?? 'the manifest'}: ${issue?.message ?? 'not as expected'}`,
    help: 'it was written by another version of Lockstep: resume with that one',
  });
}

/** `<YYYYMMDD-HHMMSS>-<name>`, with a number after it where several runs began in one second. */
const RUN_NAME = /^(\d{8}-\d{6})-(.+?)(?:-(\d+))?$/;

async function newestRun(parent: string, name: string): Promise<string> {
  const entries = await fs.readdir(parent).catch(() => []);
  const runs = entries.flatMap((entry) => {
    const [, time = '', named, count = '1'] = RUN_NAME.exec(entry) ?? [];
    // A name may itself end in a number.
    return entry === `${time}-${name}` || named === name
      ? [{ entry, key: `${time} ${count.padStart(4, '0')}` }]
      : [];
  });
  runs.sort((a, b) => (a.key < b.key ? 1 : -1));
  for (const { entry } of runs) {
    const directory = path.join(parent, entry);
    const saved = await fs.readdir(path.join(directory, CHECKPOINTS_FOLDER)).catch(() => []);
    if (saved.length > 0) return directory;
  }
  throw notFound(`no run of ${name} with a checkpoint in ${parent}`);
}

/** Refuses a directory without checkpoints before anything is written in it: it may be no run at all. */
async function requireCheckpoints(directory: string): Promise<void> {
  const { checkpointsPath } = new RunDirectory(directory);
  const isEmpty = (await listGenerations(checkpointsPath)).length === 0;
  if (isEmpty) throw notFound(`${checkpointsPath} holds no checkpoint to resume from`);
}

/**
 * The run's directory, if the file lies where a run keeps its checkpoints: one that was
 * copied elsewhere does not.
 */
async function runOf(file: string): Promise<string | undefined> {
  const folder = path.dirname(file);
  if (path.basename(folder) !== CHECKPOINTS_FOLDER) return undefined;
  const { path: directory, configPath } = new RunDirectory(path.dirname(folder));
  return fs.access(configPath).then(
    () => directory,
    () => undefined,
  );
}

async function isDirectory(file: string): Promise<boolean> {
  try {
    return (await fs.stat(file)).isDirectory();
  } catch (error) {
    const cause = systemErrorCode(error) === 'ENOENT' ? 'no such file or directory' : systemErrorCode(error);
    throw notFound(`cannot resume from ${file}: ${cause ?? String(error)}`);
  }
}

function autoWhere(): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_RESUME_AUTO',
    message: '--resume auto requires --run-dir, the directory of the run to begin or to resume',
  });
}

function notFound(message: string): LockstepError {
  return new LockstepError({
    category: 'checkpoint',
    code: 'E_NO_CHECKPOINT',
    message,
    help: 'name the run with --run-dir, or the checkpoint itself with --resume PATH',
  });
}
