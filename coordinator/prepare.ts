// From a checked config to everything that training needs in this process: data, model, weights. All that
// can be wrong with a run is found here, before any process starts.
import fs from 'node:fs/promises';
import type { Config } from '../src/config/schema.ts';
import { hostMath } from '../src/kernels/host-math.ts';
import type { HostMath } from '../src/kernels/host-math.ts';
import { loadData } from '../src/data/load.ts';
import type { LoadedData } from '../src/data/load.ts';
import type { LoadRequest } from '../src/data/packed-rows.ts';
import { drawWeights, loadWeights } from '../src/engine/initialize.ts';
import { isSequence } from '../src/engine/evaluation.ts';
import { planEngine } from '../src/engine/plan.ts';
import type { EnginePlan } from '../src/engine/plan.ts';
import { requireTokens } from '../src/engine/tokens.ts';
import { LockstepError, systemErrorCode } from '../src/errors.ts';
import { formatShape } from '../src/layers/layer.ts';
import { instantiateKernels, loadKernelModule } from '../src/kernels/kernels.ts';
import type { KernelModule, Kernels } from '../src/kernels/kernels.ts';
import { Memory } from '../src/memory.ts';
import { describeModel, resolveModel } from '../src/model/model.ts';
import type { Model } from '../src/model/model.ts';
import { decodeSafetensors } from '../src/safetensors.ts';
import { planMemory } from './memory-plan.ts';
import type { MemoryPlan } from './memory-plan.ts';
import { TrainingState } from './training-state.ts';

/** A run ready to train. */
export interface PreparedRun {
  readonly config: Config;
  readonly kernelModule: KernelModule;
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly math: HostMath;
  readonly data: LoadedData;
  readonly model: Model;
  readonly plan: EnginePlan;
  readonly memoryPlan: MemoryPlan;
}

/** How a run is prepared, besides its config. */
export interface PrepareOptions extends Pick<LoadRequest, 'fitted' | 'arrays'> {
  /** Whether this process computes alone, without workers. */
  readonly computesHere?: boolean | undefined;
}

/**
 * Loads kernels and data, and resolves the model; `fitted` is what a finished training has learnt of its data, `arrays`
 * are samples that are in no file.
 * @throws LockstepError for all that does not fit.
 */
export async function prepareRun(
  config: Config,
  warn: (message: string) => void,
  { fitted, arrays, computesHere = false }: PrepareOptions = {},
): Promise<PreparedRun> {
  const kernelModule = await loadKernelModule(config.numerics);
  const memory = new Memory();
  const kernels = await instantiateKernels(kernelModule.module, memory.wasm);
  const math = hostMath(kernels);
  const data = await loadData({ config, math, warn, fitted, arrays });
  const model = resolveModel(config.model, data.dataset.layout.featureShape);
  requireMatchingOutputs(data, model);
  requireTokens(data.dataset, model);
  const plan = planEngine(model, config.batchSize, config.shards);
  const memoryPlan = planMemory({ config, model, plan, data }, computesHere);
  return { config, kernelModule, kernels, memory, math, data, model, plan, memoryPlan };
}

/** The weights that the run starts from: drawn, or read from `model.init`. */
export async function initialState({ config, kernels, memory, model }: PreparedRun): Promise<TrainingState> {
  const { init } = config.model;
  const file = init === undefined ? undefined : decodeSafetensors(await readInitFile(init), init);
  return new TrainingState({
    kernels,
    memory,
    model,
    config,
    initialize: (address) => {
      if (file && init !== undefined) loadWeights(kernels, memory, model, file, init, address);
      else drawWeights(kernels, memory, model, config.seed, address);
    },
  });
}

async function readInitFile(file: string): Promise<Uint8Array> {
  try {
    return await fs.readFile(file);
  } catch (error) {
    const why =
      systemErrorCode(error) === 'ENOENT' ? 'no such file' : (systemErrorCode(error) ?? String(error));
    throw new LockstepError({
      category: 'checkpoint',
      code: 'E_INIT_WEIGHTS',
      message: `cannot read model.init ${file}: ${why}`,
      help: 'paths in a config are relative to the config file',
    });
  }
}

/** Numbers in any shape; for labels the classes, behind the positions of a sequence. */
function requireMatchingOutputs(data: LoadedData, model: Model): void {
  const { layout } = data.dataset;
  const { targetWidth, numClasses } = layout;
  const isLabels = layout.targetKind === 'labels';
  const labelShape = isSequence(layout) ? [targetWidth, numClasses] : [numClasses];
  const needed = formatShape(isLabels ? labelShape : [targetWidth]);
  if (isLabels ? formatShape(model.outputShape) === needed : model.outputWidth === targetWidth) return;
  const classes = `${numClasses} classes${isSequence(layout) ? ` at each of ${targetWidth} positions` : ''}`;
  const what = isLabels
    ? `the data has ${classes}`
    : `the target has ${targetWidth} columns (${data.targetNames.join(', ')})`;
  throw new LockstepError({
    category: 'usage',
    code: 'E_MODEL_SHAPE',
    message: `the last layer gives ${formatShape(model.outputShape)} outputs, ${what}\n${describeModel(model).join('\n')}`,
    help:
      isLabels && !isSequence(layout)
        ? `let the last layer give ${needed}, or set data.classes if the data lacks some classes`
        : `let the last layer give ${needed}`,
  });
}
