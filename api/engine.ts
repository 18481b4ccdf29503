/**
 * Training loops of your own: the layers, losses and optimizers of a config on samples in memory, step by
 * step, with the kernels, shards and sums of `train`, and so its bits. docs/api.md shows how to use it.
 * @module lockstep/engine
 */
import path from 'node:path';
import { z } from 'zod';
import { evaluationShardRows } from '../coordinator/training/compute.ts';
import { metricError, type CustomMetrics } from '../coordinator/training/custom-metrics.ts';
import { measureSplit } from '../coordinator/training/measure.ts';
import { initialState } from '../coordinator/training/prepare.ts';
import type { TrainingState } from '../coordinator/training/training-state.ts';
import { cannotWrite } from '../coordinator/output/results.ts';
import { saveModel } from '../coordinator/persistence/final-save.ts';
import { encodeWeights, restoreSnapshot, snapshotOf } from '../coordinator/persistence/snapshot.ts';
import type { Config } from '../src/config/schema.ts';
import { didYouMean } from '../src/config/suggest.ts';
import { checkOptions, metricsOption, pathArgument } from '../src/config/options.ts';
import { flattenNumbers, refuseInfinite, type Numbers } from '../src/data/array/numbers.ts';
import { taskRowSource, type RowLayout } from '../src/data/dataset/packed-dataset.ts';
import { range } from '../src/data/dataset/split.ts';
import { makeDirectory } from '../src/durable-write.ts';
import { wholeTask } from '../src/engine/engine.ts';
import { LocalEngine } from '../src/engine/local-engine.ts';
import { EVALUATION_SHARD_ROWS, evaluationWidth, isSequence } from '../src/engine/samples.ts';
import {
  configError,
  listNames,
  LockstepError,
  quoteName,
  quoteValue,
  systemErrorCode,
} from '../src/errors.ts';
import { hostMath, type HostMath } from '../src/kernels/host-math.ts';
import { loadKernelModule } from '../src/kernels/load-kernels.ts';
import type { ParameterRole, ParameterTensor } from '../src/layers/layer.ts';
import { Memory } from '../src/memory.ts';
import { loadWeights } from '../src/model/initialize.ts';
import { resolveModel, type Model } from '../src/model/model.ts';
import { cutBatch } from '../src/model/shards.ts';
import { countOf } from '../src/printable.ts';
import { decodeSafetensors, encodeSafetensors } from '../src/safetensors.ts';
import type { ScheduleInput } from '../src/schedule/schedule.ts';
import type { Shape } from '../src/shape.ts';
import {
  describeBatch,
  layOutBatches,
  packBatch,
  packInputs,
  type Batch,
  type PackedBatch,
} from './batch.ts';
import { OwnLoss } from './custom-loss.ts';
import {
  checkEngineOptions,
  type EngineLoss,
  type EngineMetrics,
  type EngineOptions,
} from './engine-options.ts';
import { Schedule, type ScheduleLength } from './epochs.ts';

export { LockstepError } from '../src/errors.ts';
export type { Numbers } from '../src/data/array/numbers.ts';
export type { HostMath } from '../src/kernels/host-math.ts';
export type { ParameterRole } from '../src/layers/layer.ts';
export type { LayerInput } from '../src/layers/registry.ts';
export type { LossInput, LossKind } from '../src/losses/registry.ts';
export type { OptimizerInput } from '../src/optimizer/registry.ts';
export type { ScheduleInput } from '../src/schedule/schedule.ts';
export type { Shape } from '../src/shape.ts';
export type {
  CustomMetric,
  CustomMetrics,
  MetricColumn,
  MetricInfo,
} from '../coordinator/training/custom-metrics.ts';
export type { Batch } from './batch.ts';
export type { EngineLoss, EngineMetrics, EngineOptions } from './engine-options.ts';
export { epochOrder, Schedule } from './epochs.ts';
export type { ScheduleLength } from './epochs.ts';
export type { CustomLoss, LikeLoss, LossLike, LossResult, LossRows } from './custom-loss.ts';
export {
  activation,
  attention,
  augment,
  avgPool2d,
  batchNorm,
  conv2d,
  dense,
  dropout,
  embedding,
  flatten,
  globalAvgPool2d,
  gru,
  layerNorm,
  lstm,
  maxPool2d,
  positionalEmbedding,
  reshape,
  residual,
  sequential,
} from './layers.ts';

/** A tensor of parameters. */
export interface ParameterInfo {
  /** PyTorch's name in a Sequential where each activation is a module of its own: `0.weight`. */
  readonly name: string;
  /** Its sizes, as in PyTorch: [outputs, inputs] of a dense layer. */
  readonly shape: Shape;
  /** `weight`, `bias`, `norm`, or `statistic`, which no gradient moves. */
  readonly role: ParameterRole;
}

/** The loss of a batch. */
export interface BatchLoss {
  /** Mean loss: `lossSum / weight`. */
  readonly loss: number;
  /** Sum of the weighted losses of the samples, float64. */
  readonly lossSum: number;
  /** Sum of the samples' weights, or of their labels': their number where there are none. */
  readonly weight: number;
}

/** A step of the optimizer. */
export interface EngineStep {
  /** Steps so far. */
  readonly step: number;
  /** Euclidean norm of the mean gradient, before clipping. */
  readonly gradNorm: number;
  /** Fingerprint of the weights after the step: that of the same step in `train`'s `onStep`. */
  readonly fingerprint: string;
}

/** The weights that an engine reads: those that steps move, their moving average (`ema`), or the best kept. */
export type EngineWeights = 'live' | 'average' | 'best';

/** Options of `TrainingEngine.evaluate`. */
export interface EngineEvaluateOptions {
  /** Metrics of your own by their names, which the result has as `custom`. */
  readonly metrics?: CustomMetrics | undefined;
}

const stepSchema = z.strictObject({
  learningRate: z.number().min(0).optional().describe('a number of at least 0'),
});

const evaluateSchema = z.strictObject({
  metrics: metricsOption,
} satisfies Record<keyof EngineEvaluateOptions, z.ZodType>);

const weightsSchema = z.strictObject({
  weights: z.enum(['live', 'average', 'best']).describe('"live", "average" or "best"'),
});

const directorySchema = z.strictObject({ directory: pathArgument });

/** Everything of an engine that its memory is reached by. */
interface Parts {
  readonly config: Config;
  readonly model: Model;
  readonly local: LocalEngine;
  readonly state: TrainingState;
  readonly math: HostMath;
  /** The layout of batches, without rows. */
  readonly layout: RowLayout;
}

/** The sum of gradients of a batch. */
interface BatchGradient {
  /** Address of the flat f32 sum. */
  readonly address: number;
  readonly weight: number;
  readonly numSamples: number;
}

/**
 * Makes an engine, with weights drawn from `seed` or read from `model.init`. It computes in the thread
 * that calls it, which waits meanwhile.
 * @throws LockstepError for options that are invalid, layers that do not fit, or more memory than there is
 */
export async function createEngine<const Loss extends EngineLoss>(
  options: EngineOptions<Loss>,
): Promise<TrainingEngine<EngineMetrics<Loss>>> {
  const { config, inputShape, ownLoss } = checkEngineOptions(options);
  const { batchSize, seed, shards, wire } = config;
  const kernelModule = await loadKernelModule(config.numerics);
  const memory = Memory.takeSpare();
  const model = resolveModel({ layers: config.model.layers }, inputShape);
  const layout = layOutBatches(model, config.loss.kind);
  const local = await LocalEngine.create({
    ...{ kernelModule, memory, model, seed, batchSize, shards, groups: wire.groups },
    loss: ownLoss ? new OwnLoss(ownLoss, memory) : config.loss,
    dataset: { layout, blob: new Uint8Array() },
    isStreamed: true,
    maxRows: Math.max(batchSize, EVALUATION_SHARD_ROWS),
  });
  // Help with divergence is not to name fields of data, which an engine has not.
  const { data: _, ...ofState } = config;
  const state = await initialState({ config: ofState, kernels: local.kernels, memory, model });
  return new TrainingEngine({ config, model, local, state, math: hostMath(local.kernels), layout });
}

/** A model with its optimizer, of which a program calls each step. */
export class TrainingEngine<Metrics = unknown> {
  /** Shape of one sample. */
  readonly inputShape: Shape;
  /** Shape of one sample's outputs: those of the last layer. */
  readonly outputShape: Shape;
  /** Tensors of parameters, in the order in which they are hashed. */
  readonly parameters: readonly ParameterInfo[];
  /** Number of parameters, statistics included. */
  readonly numParameters: number;
  #parts: Parts | undefined;
  #packedVersion = -1;
  #gradient: BatchGradient | undefined;
  #takesBytes = false;
  /** Address of weights that are read from a file. */
  #loaded: number | undefined;

  /** @internal */
  constructor(parts: Parts) {
    const { inputShape, outputShape, numParameters, tensors } = parts.model;
    this.inputShape = inputShape;
    this.outputShape = outputShape;
    this.numParameters = numParameters;
    this.parameters = tensors.map(({ name, shape, role }) => ({ name, shape, role }));
    this.#parts = parts;
  }

  /** Steps taken. */
  get stepsDone(): number {
    return this.#open().state.step;
  }

  /** SHA-256 over the little-endian float32 of all parameters: `weightsSha256` of a run with these weights. */
  get weightsSha256(): string {
    return this.#open().state.weightsSha256();
  }

  /**
   * Computes the outputs of the last layer, as in evaluation: nothing is dropped, statistics are the running
   * ones. Classes are logits.
   * @param features samples, [samples, inputShape], as in a batch; any number of them
   * @returns f32 [samples, outputShape]
   * @throws LockstepError naming the sample (from 0) whose values are not finite in float32
   */
  forward(features: Numbers): Float32Array {
    const { local, layout } = this.#pack();
    const inputs = packInputs(features, layout);
    return local.predictRows(range(0, inputs.layout.numRows), taskRowSource(inputs));
  }

  /**
   * Computes the loss of a batch and the sum of its gradients, which `step` then takes. The batch is cut into
   * shards and summed as in `train`. It replaces what an earlier call has summed, and reads the live weights.
   * @param batch at most `batchSize` samples
   * @throws LockstepError that names the field and the sample (from 0) which does not fit
   */
  backward(batch: Batch): BatchLoss {
    this.#gradient = undefined;
    this.use('live');
    const { config, local, model, state } = this.#pack();
    const { dataset, indices, weight, areBytes } = this.#packBatch(batch);
    if (indices.length > config.batchSize) {
      const message = `the batch has ${countOf(indices.length, 'sample')}, batchSize is ${config.batchSize}`;
      throw engineError(message, 'make the engine with a larger batchSize');
    }
    const bounds = cutBatch(indices.length, config);
    requireVariance(model, bounds);
    let [address, lossSum] = [0, 0];
    local.trainTask(wholeTask(indices, bounds, taskRowSource(dataset)), state.step, (sum) => {
      lossSum = sum.lossSum ?? lossSum;
      // The last bucket lies at the start of the flat vector.
      address = sum.address;
    });
    this.#gradient = { address, weight, numSamples: indices.length };
    this.#takesBytes = areBytes;
    return { loss: lossSum / weight, lossSum, weight };
  }

  /**
   * Moves the parameters by the gradient of the last `backward`, once. The mean is clipped as `clip` says.
   * @param options `learningRate`: that of this step; default: the optimizer's
   * @throws LockstepError E_DIVERGED if the gradient is not finite; the weights are then as before
   */
  step(options: { readonly learningRate?: number | undefined } = {}): EngineStep {
    checkOptions(stepSchema, options, 'options of step');
    const { config, model, state } = this.#open();
    const { address, weight, numSamples } = this.#requireGradient();
    this.#gradient = undefined;
    state.learningRate = options.learningRate ?? config.optimizer.learningRate;
    for (const [index, { offset }] of model.buckets.entries())
      state.finishBucket(index, address + 4 * offset, weight, numSamples);
    const { gradNorm } = state.commit();
    return { step: state.step, gradNorm, fingerprint: state.fingerprint };
  }

  /**
   * Measures samples with the weights in use, as `train` measures a split; changes nothing. With
   * `binaryCrossEntropy` the metrics are those of labels if every target is 0 or 1. Metrics of your own get
   * outputs and targets of all samples; targets are called `target`, or `target1` and so on.
   * @param batch any number of samples
   */
  async evaluate(batch: Batch, options: EngineEvaluateOptions = {}): Promise<Metrics> {
    checkOptions(evaluateSchema, options, 'options of evaluate');
    const { config, local, layout, math, model } = this.#pack();
    if (options.metrics && isSequence(layout))
      throw metricError('metrics: of sequences they can be computed from the outputs of forward');
    const packed = this.#packBatch(batch);
    const source = taskRowSource(packed.dataset);
    const shardRows = evaluationShardRows(evaluationWidth(model, layout, config.loss));
    const measured = await measureSplit('test', {
      config,
      math,
      data: describeBatch(packed, config, packed.areBytes),
      compute: { evaluate: (rows) => Promise.resolve(local.evaluateRows(rows, shardRows, source)) },
      customMetrics: options.metrics,
    });
    return measured?.metrics as Metrics;
  }

  /**
   * Copies a tensor of parameters.
   * @returns f32 of the tensor's shape
   * @throws LockstepError for a name that is not among `parameters`
   */
  parameter(name: string): Float32Array {
    const { state } = this.#open();
    const { offset, length } = this.#find(name);
    return state.memory.f32(state.parameters + 4 * offset, length).slice();
  }

  /**
   * Replaces a tensor of the live parameters, and its part of their average. Optimizer state stays as it is.
   * @param values of the tensor's shape, finite; rounded to float32
   */
  setParameter(name: string, values: Numbers): void {
    const { state } = this.#open();
    const { offset, length } = this.#find(name);
    const own = takeTensor(values, length, name);
    state.resumeAfter(state.step, state.hasBest, ({ parameters, average }) => {
      for (const address of [parameters, average ?? parameters])
        state.memory.f32(address + 4 * offset, length).set(own);
    });
  }

  /**
   * Copies the mean gradient of a tensor: the sum of the last `backward`, divided by the weights of its
   * samples. Of statistics it is the mean over the samples of what the batch has shown.
   * @returns f32 of the tensor's shape
   */
  gradient(name: string): Float32Array {
    const { memory } = this.#open().state;
    const { address, weight, numSamples } = this.#requireGradient();
    const { offset, length, role } = this.#find(name);
    const divisor = Math.fround(role === 'statistic' ? numSamples : weight);
    return memory.f32(address + 4 * offset, length).map((sum) => sum / divisor);
  }

  /**
   * Replaces the mean gradient of a tensor before `step`. The bits of the other tensors' steps stay the same,
   * unless `clip.norm` is set: the norm is then that of the means.
   * @param values of the tensor's shape, finite; rounded to float32
   */
  setGradient(name: string, values: Numbers): void {
    const { model, state } = this.#open();
    const { offset, length } = this.#find(name);
    const own = takeTensor(values, length, name);
    const { address, weight, numSamples } = this.#requireGradient();
    if (weight !== 1 || numSamples !== 1) {
      for (const tensor of model.tensors) {
        const means = this.gradient(tensor.name);
        state.memory.f32(address + 4 * tensor.offset, tensor.length).set(means);
      }
    }
    state.memory.f32(address + 4 * offset, length).set(own);
    this.#gradient = { address, weight: 1, numSamples: 1 };
  }

  /**
   * Makes other weights those that `forward`, `evaluate`, `parameter` and the savers read: `live` (which
   * `backward` returns to), `average` (the live ones without `ema`), or `best`.
   * @throws LockstepError for `best` before `keepBest`
   */
  use(weights: EngineWeights): void {
    checkOptions(weightsSchema, { weights }, 'arguments of use');
    const { state } = this.#open();
    if (weights === 'best' && !state.hasBest)
      throw engineError('there are no best weights yet', 'call keepBest first');
    state.setCurrent(weights);
  }

  /** Keeps a copy of the weights in use, in place of an earlier one. */
  keepBest(): void {
    this.#open().state.keepBest();
  }

  /**
   * Makes learning rates from the `schedule` of a config.
   * @throws LockstepError for a schedule that is invalid
   */
  schedule(schedule: ScheduleInput, length: ScheduleLength): Schedule {
    const { config, math } = this.#open();
    return new Schedule(config, schedule, length, math);
  }

  /** The weights in use as a file of safetensors, with names and shapes of a PyTorch Sequential. */
  saveWeights(): Uint8Array {
    return encodeWeights(this.#open().state, this.weightsSha256);
  }

  /**
   * Replaces the live parameters and their average by those of a file of safetensors, as `model.init` does:
   * the k-th numbered module is the k-th layer that has parameters. Optimizer state stays as it is.
   * @param file the bytes of the file
   * @throws LockstepError naming the first tensor that does not fit, or is not finite
   */
  loadWeights(file: Uint8Array): void {
    const { local, model, state } = this.#open();
    const { kernels, memory } = local;
    const tensors = decodeSafetensors(requireBytes(file), 'weights');
    // Read to a place of its own, so that a file that does not fit changes nothing.
    const address = (this.#loaded ??= memory.allocate(4 * model.numParameters, 'weights'));
    loadWeights(kernels, memory, model, tensors, 'weights', address);
    state.resumeAfter(state.step, state.hasBest, ({ parameters, average }) => {
      for (const to of [parameters, average ?? parameters])
        kernels.copyValues(address, model.numParameters, to);
    });
  }

  /** Everything that steps change, as a file: `loadState` continues from it to the same bits. */
  saveState(): Uint8Array {
    const { state } = this.#open();
    return encodeSafetensors(snapshotOf(state), { step: String(state.step) });
  }

  /**
   * Continues where `saveState` was called, on an engine that was made from the same options.
   * @throws LockstepError for a file that is damaged, or of another model or optimizer
   */
  loadState(file: Uint8Array): void {
    const { state } = this.#open();
    const { metadata, tensors } = decodeSafetensors(requireBytes(file), 'state');
    const step = Number(metadata['step'] ?? Number.NaN);
    if (!Number.isSafeInteger(step) || step < 0)
      throw new LockstepError({
        category: 'checkpoint',
        code: 'E_CHECKPOINT_MISMATCH',
        message: 'state: has no number of steps',
        help: 'give what saveState has returned',
      });
    this.#gradient = undefined;
    restoreSnapshot(state, tensors, { step, path: 'state' });
  }

  /**
   * Writes the weights in use and their description into `directory`, which is made: a model for `loadModel`,
   * `lockstep predict`, `export` and `serve`, which take samples as `forward` does. Of a loss of your own it
   * has the one that it is like.
   */
  async saveModel(directory: string): Promise<void> {
    checkOptions(directorySchema, { directory }, 'arguments of saveModel');
    const { config, layout, state } = this.#open();
    const dataset = { layout, blob: new Uint8Array() };
    try {
      await makeDirectory(path.resolve(directory));
      await saveModel(
        directory,
        { config, data: describeBatch({ dataset }, config, this.#takesBytes) },
        state,
      );
    } catch (error) {
      const cause = error instanceof LockstepError ? error.cause : error;
      throw systemErrorCode(cause) === undefined ? error : cannotWrite(directory, cause);
    }
  }

  /** Gives the memory back, for the next engine or the system. Nothing else may be called afterwards. */
  dispose(): void {
    this.#parts?.local.memory.release();
    this.#parts = undefined;
  }

  /** Disposes of the engine at the end of a block: `using engine = await createEngine(...)`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #open(): Parts {
    if (this.#parts) return this.#parts;
    throw engineError('the engine is disposed of', 'make another one');
  }

  /** Brings the weights in use into the form that layers read, if they have changed. */
  #pack(): Parts {
    const parts = this.#open();
    const { local, state } = parts;
    if (this.#packedVersion !== state.version) local.setWeights(state.parameters);
    this.#packedVersion = state.version;
    return parts;
  }

  #packBatch(batch: Batch): PackedBatch {
    const { config, layout } = this.#open();
    const packed = packBatch(batch, layout, config.loss.kind === 'binaryCrossEntropy');
    if (packed.weight > 0) return packed;
    throw engineError('all samples of the batch weigh 0', 'leave such a batch out');
  }

  #find(name: string): ParameterTensor {
    const { tensors } = this.#open().model;
    const found = tensors.find((tensor) => tensor.name === name);
    if (found) return found;
    const names = tensors.map((tensor) => tensor.name);
    const help = didYouMean(String(name), names) ?? `its parameters: ${listNames(names)}`;
    throw engineError(`the model has no parameters ${quoteName(String(name))}`, help);
  }

  #requireGradient(): BatchGradient {
    this.#open();
    if (this.#gradient) return this.#gradient;
    throw engineError('there is no gradient', 'call backward first; step uses its gradient up');
  }
}

/** @throws LockstepError where a layer would have to take a variance of one value, as `train` refuses it */
function requireVariance({ tensors }: Model, bounds: Uint32Array): void {
  const values = Math.min(...tensors.flatMap(({ valuesPerSample = [] }) => valuesPerSample));
  const [from = 0, to = 0] = bounds.subarray(-2);
  if ((to - from) * values > 1) return;
  const batch = `a batch of ${countOf(to, 'sample')} has a shard of ${to - from}`;
  throw configError(
    'E_CONFIG_BATCH_NORM',
    `batchNorm takes a variance, for which a shard needs more than 1 value of each feature or channel: ${batch}`,
    'give larger batches, or the engine fewer shards',
  );
}

function takeTensor(numbers: Numbers, length: number, name: string): Float32Array {
  const { values } = flattenNumbers(numbers, name);
  refuseInfinite(values, [1], name);
  if (values.length === length) return Float32Array.from(values);
  throw engineError(
    `${name} has ${countOf(length, 'value')}, got ${values.length}`,
    'give values of its shape',
  );
}

function requireBytes(file: Uint8Array): Uint8Array {
  if (file instanceof Uint8Array) return file;
  throw engineError(
    `expected the bytes of a file, got ${quoteValue(file)}`,
    'read it: fs.readFileSync(path)',
  );
}

function engineError(message: string, help: string): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_ENGINE', message, help });
}
