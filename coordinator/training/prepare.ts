// From a checked config to everything that training needs in this process: data, model, weights.
// Everything that can be wrong with a run is found here, before any process starts.
import type { Config } from '../../src/config/schema.ts';
import { targetView } from '../../src/data/dataset/packed-dataset.ts';
import { featureWidth, type FittedFeature } from '../../src/data/dataset/transforms.ts';
import type { LayerSpec } from '../../src/layers/registry.ts';
import { hostMath } from '../../src/kernels/host-math.ts';
import type { HostMath } from '../../src/kernels/host-math.ts';
import { loadData } from '../../src/data/load.ts';
import type { LoadedData, LoadRequest } from '../../src/data/load.ts';
import { drawWeights, loadWeights } from '../../src/model/initialize.ts';
import { evaluationWidth, isSequence } from '../../src/engine/samples.ts';
import { planEngine } from '../../src/engine/plan.ts';
import type { EnginePlan } from '../../src/engine/plan.ts';
import { requireStatistics, requireTokens } from './data-requirements.ts';
import { LockstepError, listNames } from '../../src/errors.ts';
import { formatShape } from '../../src/shape.ts';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import type { KernelModule, Kernels } from '../../src/kernels/kernels.ts';
import { LOSS } from '../../src/metrics/definitions.ts';
import { Memory } from '../../src/memory.ts';
import { describeModel, resolveModel } from '../../src/model/model.ts';
import type { Model } from '../../src/model/model.ts';
import { countOf } from '../../src/printable.ts';
import { readRegularFile } from '../../src/regular-file.ts';
import { decodeSafetensors, MAX_SAFETENSORS_BYTES } from '../../src/safetensors.ts';
import { fetchConfigObjects } from '../object-storage/fetch-objects.ts';
import type { FetchedObject, FetchOptions } from '../object-storage/fetch-objects.ts';
import type { Evaluation } from './compute.ts';
import { metricError, type CustomMetrics } from './custom-metrics.ts';
import { monitoredValue } from './early-stopping.ts';
import { measureSplit } from './measure.ts';
import { planMemory, warnOfMemory } from './memory-plan.ts';
import type { LocalCompute, MemoryPlan } from './memory-plan.ts';
import { requireLimits } from './run-descriptions.ts';
import { TrainingState } from './training-state.ts';
import type { TrainingStateOptions } from './training-state.ts';

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
  /** Metrics that a program has brought along. */
  readonly customMetrics?: CustomMetrics | undefined;
  /** The objects from which data and weights come; the config names their copies here. */
  readonly objects: readonly FetchedObject[];
}

/** The settings of preparing a run, besides its config. */
export interface PrepareOptions extends Pick<LoadRequest, 'fitted' | 'arrays'>, FetchOptions {
  /** Undefined where workers join over the network. */
  readonly local?: LocalCompute | undefined;
  readonly customMetrics?: CustomMetrics | undefined;
}

/**
 * Loads kernels and data, and resolves the model; `fitted` is what a finished training has learnt
 * of its data, `arrays` are samples that are in no file.
 * @throws LockstepError for everything that does not fit together.
 */
export async function prepareRun(
  given: Config,
  warn: (message: string) => void,
  { fitted, arrays, local, customMetrics, ...fetching }: PrepareOptions = {},
): Promise<PreparedRun> {
  const { config, objects } = await fetchConfigObjects(given, { say: warn, ...fetching });
  const kernelModule = await loadKernelModule(config.numerics);
  const memory = new Memory();
  const kernels = await instantiateKernels(kernelModule, memory.wasm);
  const math = hostMath(kernels);
  const data = await loadData({ config, math, warn, fitted, arrays });
  const layers = [...layersOfColumns(data.transforms.features), ...config.model.layers];
  const model = resolveModel(
    { layers, smallBuckets: local ? undefined : true },
    data.dataset.layout.featureShape,
  );
  requireMatchingOutputs(data, model);
  requireTokens(data.dataset, model);
  if (customMetrics && isSequence(data.dataset.layout)) {
    throw metricError('metrics: the outputs at the positions of a sequence never leave the workers');
  }
  // Of a training that is over, nothing is cut into batches any more.
  if (!fitted) requireStatistics(config, { model, numSamples: data.splits.train.length }, warn);
  const plan = planEngine(model, { ...config, groups: config.wire.groups });
  const memoryPlan = planMemory({ config, model, plan, data }, local);
  const prepared = {
    config,
    kernelModule,
    kernels,
    memory,
    math,
    data,
    model,
    plan,
    memoryPlan,
    customMetrics,
    objects,
  };
  if (!fitted) {
    requireLimits(prepared);
    warnOfMemory(memoryPlan, local?.workers ?? 0, warn);
    await requireMetrics(prepared);
  }
  return prepared;
}

/** The parts that a state is made of. */
type StateParts = Pick<PreparedRun, 'kernels' | 'memory' | 'model'> & {
  readonly config: TrainingStateOptions['config'] & Pick<Config, 'model' | 'seed'>;
};
/** The layer that embedded columns put before those of the config, if there are any. */
function layersOfColumns(features: readonly FittedFeature[]): LayerSpec[] {
  let place = 0;
  const columns = features.flatMap((feature) => {
    const own = place;
    place += featureWidth(feature);
    if (feature.kind !== 'embedding') return [];
    return [{ place: own, vocabulary: 1 + feature.texts.length, units: feature.units }];
  });
  return columns.length === 0 ? [] : [{ kind: 'columnEmbeddings', columns }];
}

/** The weights that the run starts from: drawn, or read from `model.init`. */
export async function initialState({ config, kernels, memory, model }: StateParts): Promise<TrainingState> {
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
    return await readRegularFile(file, MAX_SAFETENSORS_BYTES);
  } catch (error) {
    throw new LockstepError({
      category: 'checkpoint',
      code: 'E_INIT_WEIGHTS',
      message: `cannot read model.init ${file}: ${(error as Error).message}`,
      help: 'paths in a config are relative to the config file',
    });
  }
}

/**
 * Refuses outputs that do not match the targets: numbers in any shape; for labels the classes,
 * after the positions of a sequence.
 */
function requireMatchingOutputs(data: LoadedData, model: Model): void {
  const { layout } = data.dataset;
  const { targetWidth, numClasses } = layout;
  const isLabels = layout.targetKind === 'labels';
  const { positions = isSequence(layout) ? targetWidth : 1 } = data.transforms.target;
  const width = isLabels ? numClasses : targetWidth / positions;
  const needed = formatShape(positions > 1 ? [positions, width] : [width]);
  if (isLabels ? formatShape(model.outputShape) === needed : model.outputWidth === targetWidth) return;
  const where = positions > 1 ? ` at each of ${positions} positions` : '';
  const what = isLabels
    ? `the data has ${numClasses} classes${where}`
    : `the target has ${countOf(width, 'column')}${where} (${listNames(data.targetNames)})`;
  throw new LockstepError({
    category: 'usage',
    code: 'E_MODEL_SHAPE',
    message: `the last layer gives ${formatShape(model.outputShape)} outputs, ${what}\n${describeModel(model).join('\n')}`,
    help: helpForOutputs(data, model, needed),
  });
}

/**
 * Refuses a metric to watch that validation will not have: which there are depends on its
 * rows, not on the weights. Metrics of a program's own are tried on the way.
 */
async function requireMetrics({ config, customMetrics, data, math, model }: PreparedRun): Promise<void> {
  const { earlyStopping } = config;
  const watches = earlyStopping !== undefined && earlyStopping.monitor !== LOSS.name;
  if (!watches && !customMetrics) return;
  const width = evaluationWidth(model, data.dataset.layout, config.loss);
  const evaluate = (indices: Uint32Array): Promise<Evaluation> =>
    Promise.resolve({ lossSum: 0, outputs: new Float32Array(indices.length * width) });
  const options = { config, customMetrics, data, math, compute: { evaluate } };
  const validation = await measureSplit('validation', options);
  if (validation && watches) monitoredValue(validation.metrics, earlyStopping);
}

/** Advice for making the last layer and the targets fit each other. */
function helpForOutputs({ dataset, transforms }: LoadedData, model: Model, needed: string): string {
  const { layout } = dataset;
  const { positions } = transforms.target;
  const [outputs = 1, ...outer] = model.outputShape.toReversed();
  const advice = `let the last layer give ${needed}`;
  const isIndex = transforms.target.kind === 'labels' && transforms.target.cells === 'index';
  // All classes of a text are known.
  const isText = isSequence(layout) && positions === undefined;
  const isShaped = formatShape(outer) === formatShape(positions === undefined ? [] : [positions]);
  if (layout.targetKind !== 'labels' || isText || !isShaped || !isIndex) return advice;
  if (outputs > layout.numClasses)
    return `${advice}, or set data.classes: ${outputs} if the data lacks some classes`;
  const lacksFirst = targetView(dataset).every((label) => label > 0);
  if (!lacksFirst || outputs !== layout.numClasses - 1) return advice;
  return `number the labels from 0 (they run from 1 to ${outputs}), or ${advice}: class 0 then never occurs`;
}
