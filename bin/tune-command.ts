// `lockstep tune`: from arguments to a finished search.
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { createRuntime } from './runtime.ts';
import { tune } from '../coordinator/commands/tune.ts';
import { printJson, writeResultFile } from '../coordinator/output/results.ts';
import { formatTuning, tuneSpec } from '../coordinator/output/trials.ts';
import { localWorkforce } from '../coordinator/start-compute.ts';
import { readDimensions } from '../src/config/search-space.ts';
import { LockstepError } from '../src/errors.ts';

/** Arguments of `lockstep tune`. */
export interface TuneArguments {
  readonly set: readonly string[];
  readonly vary: readonly string[];
  readonly method: 'random' | 'grid';
  readonly trials: number;
  readonly seed: number;
  readonly runDir?: string;
  readonly resume?: boolean;
  readonly earlyStop: boolean;
  readonly workers: number | 'auto';
  readonly threads: number | 'auto';
  readonly json?: boolean;
}

/** Searches, and shows what it found. */
export async function runTune(config: string, args: TuneArguments): Promise<void> {
  const { earlyStop, json, method, resume = false, runDir, seed, set, threads, trials, vary, workers } = args;
  if (vary.length === 0) throw nothingToVary();
  const search = { dimensions: readDimensions(vary), method, trials, seed, stopsEarly: earlyStop };
  const runtime = createRuntime();
  const result = await tune({
    ...runtime,
    path: config,
    overrides: set,
    search,
    isResuming: resume,
    runDirectory: runDir,
    workforce: localWorkforce(workers, threads, {
      program: fileURLToPath(new URL('./lockstep.js', import.meta.url)),
    }),
  });
  const { renderSvg } = await import('../coordinator/output/plot-render.ts');
  await writeResultFile(path.join(result.directory, 'trials.svg'), await renderSvg(tuneSpec(result)));
  runtime.screen.write(`\n${formatTuning(result, runtime.screen.columns)}`);
  if (json) await printJson(result);
}

function nothingToVary(): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_TUNE_VALUES',
    message: 'there is nothing to vary',
    help: 'name keys and values: --vary optimizer.learningRate=log:0.0001..0.1 --vary batchSize=[32,128]',
  });
}
