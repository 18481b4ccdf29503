// A run directory as a training leaves it, made without training: the drawn weights are as good as trained
// ones where only files and predictions matter.
import fs from 'node:fs';
import path from 'node:path';
import { stringify } from 'yaml';
import { takeArrays, type TrainConfig } from '../../api/train.ts';
import { InProcessCompute } from '../../coordinator/training/in-process-compute.ts';
import { measureSplit } from '../../coordinator/training/measure.ts';
import { initialState, prepareRun, type PreparedRun } from '../../coordinator/training/prepare.ts';
import { saveModel } from '../../coordinator/persistence/final-save.ts';
import { resolveConfigPaths } from '../../src/config/resolve-paths.ts';
import { validateConfig } from '../../src/config/validate.ts';
import type { SplitIndices } from '../../src/data/dataset/packed-dataset.ts';
import { formatError, LockstepError } from '../../src/errors.ts';
import type { SplitMetrics } from '../../src/metrics/definitions.ts';
import { temporaryDirectory } from './temporary-directory.ts';

export interface SavedRun {
  /** The directory with the given files and the run. */
  readonly cwd: string;
  readonly directory: string;
  readonly prepared: PreparedRun;
  /** The engine's outputs for every sample of the dataset, with the saved weights. */
  readonly outputs: Float32Array;
  /** Evaluates a split as the run would have done. */
  measure(split: keyof SplitIndices): Promise<SplitMetrics | undefined>;
}

/** Writes `files`, and the run of a config that names them, or has samples in memory. */
export async function saveRun(
  files: Readonly<Record<string, string | Uint8Array>>,
  input: Omit<TrainConfig, 'name'>,
): Promise<SavedRun> {
  const cwd = temporaryDirectory();
  for (const [name, content] of Object.entries(files)) fs.writeFileSync(path.join(cwd, name), content);
  const { config: named, arrays } = takeArrays({ name: 'saved', seed: 7, ...input });
  const validation = validateConfig(named);
  if ('findings' in validation) throw new Error(JSON.stringify(validation.findings));
  const config = resolveConfigPaths(validation.config, cwd);
  const prepared = await prepareRun(config, () => undefined, { arrays });
  const state = await initialState(prepared);
  const directory = path.join(cwd, 'run');
  fs.mkdirSync(path.join(directory, 'model'), { recursive: true });
  fs.writeFileSync(path.join(directory, 'config.yaml'), stringify(config));
  await saveModel(path.join(directory, 'model'), prepared, state);
  const compute = await InProcessCompute.create(prepared, state);
  const rows = Uint32Array.from({ length: prepared.data.dataset.layout.numRows }, (_, row) => row);
  const { outputs } = await compute.evaluate(rows);
  const measure = async (split: keyof SplitIndices): Promise<SplitMetrics | undefined> =>
    (await measureSplit(split, { ...prepared, compute }))?.metrics;
  return { cwd, directory, prepared, outputs, measure };
}

/** The text a user would see for the error that `action` ends in, without the directory. */
export async function errorText(cwd: string, action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
    return formatError(error).replaceAll(`${cwd}/`, '');
  }
  throw new Error('no error was thrown');
}
