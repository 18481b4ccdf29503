// The part of a draft that differs by kind of data, and what all kinds have in common.
import path from 'node:path';
import type { DataSource, TableSource } from '../config/data-sources.ts';
import type { ConfigInput } from '../config/schema.ts';
import { originOf } from '../data/dataset/source-file.ts';
import { dataError, listNames, shorten } from '../errors.ts';
import { countOf } from '../printable.ts';
import type { Task, Training } from './choose-training.ts';

/** The wishes of a user for a config to be. */
export interface DraftOptions {
  readonly name: string;
  /** The directory of the config, to which its paths are relative. */
  readonly directory: string;
  readonly target?: string | undefined;
  readonly task?: Task['kind'] | undefined;
  readonly drop?: readonly string[] | undefined;
}

/** The part of a draft that differs by kind of data. */
export interface Choices {
  readonly data: ConfigInput['data'];
  readonly training: Training;
  readonly loss: 'mse' | 'crossEntropy';
  readonly comments: readonly (readonly [key: string, comment: string])[];
  readonly choices: readonly (readonly [word: string, text: string])[];
  readonly warnings: readonly string[];
}

/** Fewer samples leave nothing to validate and test on. */
const MIN_SAMPLES = 10;

/** @throws LockstepError for too few samples to learn from, which `noun` calls by their name */
export function requireSamples(count: number, noun: string): void {
  if (count >= MIN_SAMPLES) return;
  throw dataError('E_DATA_NO_ROWS', `${countOf(count, noun)}: too few to train, validate and test on`, {
    help: `at least ${MIN_SAMPLES} are needed, and hundreds are better`,
  });
}

/** The width of the output layer; `numTargets` is that of several columns of numbers. */
export function outputsOf(task: Task, numTargets = 1): number {
  return task.kind === 'classes' ? task.numClasses : numTargets;
}

/** The target in words: what it is, and how it is learnt. */
export function describeTarget(name: string, task: Task, isStratified = true): string {
  if (task.kind === 'classes') {
    const shares = isStratified ? ', the same shares in each split' : '';
    return `${shorten(name)}, ${task.numClasses} classes (${task.why}): crossEntropy${shares}`;
  }
  return `${shorten(name)}, ${task.why}: mse on ${task.transform.join(', then ')}`;
}

/** Fewer rows of a class are hardly learnt. */
const RARE = 10;

/** A warning about classes of few samples, if there are any. */
export function describeClasses(
  task: Task,
  counts: readonly { readonly value: string; readonly count: number }[],
): string[] {
  if (task.kind !== 'classes') return [];
  const rare = counts.filter(({ count }) => count > 0 && count < RARE);
  if (rare.length === 0) return [];
  const names = rare.map(({ value, count }) => `${shorten(value)} (${count})`);
  return [`classes with few samples: ${listNames(names, 5)}`];
}

function relativeTo(directory: string, file: string): string {
  const origin = originOf(file);
  if (origin !== undefined) return origin;
  const name = path.relative(directory, file);
  return name.startsWith(`..${path.sep}..`) ? file : name;
}

/** The files of a table as the config in a directory names them. */
export function relativeTable(source: TableSource, directory: string): string | string[] {
  return typeof source === 'string'
    ? relativeTo(directory, source)
    : source.map((file) => relativeTo(directory, file));
}

/** The sources of the splits as the config in a directory names them. */
export function relativeSplits(
  splits: {
    readonly train: DataSource;
    readonly validation?: DataSource | undefined;
    readonly test?: DataSource | undefined;
  },
  directory: string,
): Pick<ConfigInput['data'], 'train' | 'validation' | 'test'> {
  const present = Object.entries(splits).filter(([, source]) => source !== undefined);
  return Object.fromEntries(
    present.map(([name, source]) => [name, relativeSource(source as DataSource, directory)]),
  );
}

function relativeSource(source: DataSource, directory: string): DataSource {
  if (typeof source === 'string' || Array.isArray(source)) return relativeTable(source, directory);
  if ('npz' in source && source.npz !== undefined)
    return { ...source, npz: relativeTo(directory, source.npz) };
  return Object.fromEntries(
    Object.entries(source).map(([key, file]) => [key, relativeTo(directory, file as string)]),
  ) as unknown as DataSource;
}
