// A trained model, ready to be used: the saved weights in the build of the kernels that they were trained
// with.
import { encodeRows, encodeSamples, type PredictInput, type Row, takeValues } from './samples.ts';
import type { ModelDescription, SavedModel } from './model-files.ts';
import { readOutputs, type Prediction } from './predictions.ts';
import { refuseInfinite } from '../data/array/numbers.ts';
import { dataError } from '../errors.ts';
import type { RowLayout } from '../data/dataset/packed-dataset.ts';
import type { FittedFeature } from '../data/dataset/transforms.ts';
import { Engine } from '../engine/engine.ts';
import { planPredictions } from '../engine/plan.ts';
import { hostMath, type HostMath } from '../kernels/host-math.ts';
import { instantiateKernels, type KernelModule, type Kernels } from '../kernels/kernels.ts';
import { formatShape, sizeOf, type Shape } from '../shape.ts';
import type { LayerSpec } from '../layers/registry.ts';
import { Memory } from '../memory.ts';
import type { Model } from '../model/model.ts';
import { formatCount } from '../printable.ts';

/** A model that predicts. Each has its own weights and room for one block of samples. */
export class TrainedModel {
  /** The directory of its files, absolute; in a browser their address, or nothing. */
  readonly directory: string;
  /** The whole content of `config.json`. */
  readonly description: ModelDescription;
  readonly #model: Model;
  readonly #memory: Memory;
  readonly #math: HostMath;
  readonly #engine: Engine;
  readonly #maxRows: number;
  /** Address of `maxRows` samples. */
  readonly #samples: number;
  readonly #warn: (message: string) => void;

  private constructor(saved: SavedModel, kernels: Kernels, memory: Memory, warn: (message: string) => void) {
    const { description, directory, model, weights } = saved;
    this.directory = directory;
    this.description = description;
    this.#model = model;
    this.#memory = memory;
    this.#math = hostMath(kernels);
    this.#warn = warn;
    const plan = planPredictions(model);
    this.#maxRows = plan.maxRows;
    this.#samples = memory.allocate(4 * plan.maxRows * sizeOf(model.inputShape), 'samples');
    const packed = model.stack.allocatePacked(memory);
    const samples = { layout: layoutOf(description, 'f32', plan.maxRows), address: this.#samples };
    const { loss } = description;
    this.#engine = new Engine({
      kernels,
      memory,
      model,
      loss,
      seed: 0,
      plan,
      packedWeights: packed,
      samples,
    });
    const flat = memory.allocate(weights.byteLength, 'weights');
    memory.f32(flat, weights.length).set(weights);
    model.stack.pack({ kernels, memory, flat, packed, part: 0, numParts: 1 });
  }

  /**
   * Makes a saved model ready in an instance of the kernels; `warn` is called with warnings about texts
   * that training never saw.
   *
   * @internal
   */
  static async create(
    saved: SavedModel,
    kernelModule: Pick<KernelModule, 'module' | 'width'>,
    warn: (message: string) => void,
  ): Promise<TrainedModel> {
    const memory = new Memory();
    return new TrainedModel(saved, await instantiateKernels(kernelModule, memory.wasm), memory, warn);
  }

  /** The run's name. */
  get name(): string {
    return this.description.name;
  }

  /** The layers, with all their fields. */
  get layers(): readonly LayerSpec[] {
    return this.description.layers;
  }

  /** Shape of one sample: [features], [positions, features] or [channels, height, width]. */
  get inputShape(): Shape {
    return this.#model.inputShape;
  }

  /** Shape of one sample's raw outputs. */
  get outputShape(): Shape {
    return this.#model.outputShape;
  }

  /** Names of the target columns, or of the one with the classes. */
  get targetNames(): readonly string[] {
    return this.description.targetNames;
  }

  /** Names of the classes in the order of probabilities; empty for regression. */
  get classNames(): readonly string[] {
    return this.description.classNames;
  }

  /**
   * Computes the outputs of the last layer, f32 [samples, outputShape], for samples [samples,
   * inputShape]: values as the layers are to see them, or bytes, which are scaled as in training. Logits
   * stay logits.
   */
  outputs(input: Float32Array | Uint8Array): Float32Array {
    const samples = takeValues(input);
    const numSamples = this.#countSamples(samples);
    const outputs = new Float32Array(numSamples * this.#model.outputWidth);
    for (let start = 0; start < numSamples; start += this.#maxRows) {
      const end = Math.min(start + this.#maxRows, numSamples);
      outputs.set(this.#outputsOf(samples, start, end), start * this.#model.outputWidth);
    }
    return outputs;
  }

  /**
   * Predicts rows of a table as objects by column name, images as bytes or as values from 0 to 1, texts
   * as bytes, `inputShape` bytes each, or samples as the arrays had them that the model was trained on.
   * @throws LockstepError (exit 3) for input that is not of this model's kind or no finite number,
   * naming row and column, and for a row of which the model has nothing finite to say.
   */
  predict(input: PredictInput): Prediction[] {
    return [...this.predictEach(input)];
  }

  /**
   * Predicts like `predict`, a block of rows at a time: for inputs whose predictions should not be held
   * all at once. Errors count rows from `firstRow`.
   */
  *predictEach(input: PredictInput, firstRow = 0): Generator<Prediction, void, undefined> {
    const samples = this.#encode(input);
    const numSamples = this.#countSamples(samples);
    const { outputWidth } = this.#model;
    const { loss, transforms } = this.description;
    for (let start = 0; start < numSamples; start += this.#maxRows) {
      const end = Math.min(start + this.#maxRows, numSamples);
      const outputs = this.#outputsOf(samples, start, end);
      for (let at = 0; at < outputs.length; at += outputWidth) {
        const row = outputs.subarray(at, at + outputWidth);
        yield readOutputs(row, {
          row: firstRow + start + at / outputWidth,
          loss,
          transforms,
          math: this.#math,
        });
      }
    }
  }

  #encode(input: PredictInput): Float32Array | Uint8Array {
    const { table, transforms } = this.description;
    const [first] = transforms.features as [FittedFeature];
    if (!('column' in first)) return encodeSamples(input, first);
    if (ArrayBuffer.isView(input)) return takeValues(input);
    return encodeRows(input as readonly Row[], transforms.features, { ...table, warn: this.#warn });
  }

  /** Outputs of the samples from `start` to `end`, at most `maxRows`. */
  #outputsOf(samples: Float32Array | Uint8Array, start: number, end: number): Float32Array {
    const width = sizeOf(this.inputShape);
    const part = samples.subarray(start * width, end * width);
    const isBytes = part instanceof Uint8Array;
    if (isBytes) this.#memory.bytes(this.#samples, part.length).set(part);
    else this.#memory.f32(this.#samples, part.length).set(part);
    const layout = layoutOf(this.description, isBytes ? 'u8' : 'f32', end - start);
    const rows = Uint32Array.from({ length: end - start }, (_, row) => row);
    return this.#engine.predict(rows, { layout, address: this.#samples });
  }

  #countSamples(samples: Float32Array | Uint8Array): number {
    const width = sizeOf(this.inputShape);
    if (samples instanceof Uint8Array && scaleOf(this.description) === undefined) {
      const isTable = this.description.transforms.features.some((feature) => 'column' in feature);
      const [what, help] = isTable
        ? ['rows of a table', 'give rows as objects by column name, or encoded features as a Float32Array']
        : ['numbers', 'give a Float32Array, or rows of numbers'];
      throw dataError('E_DATA_FORMAT', `the model takes ${what}, not bytes`, { help });
    }
    if (samples.length % width !== 0) {
      const counts = `${formatCount(samples.length)} values are not a whole number of samples`;
      throw dataError('E_DATA_SHAPE', `${counts} of ${formatShape(this.inputShape)}`);
    }
    // An activation can turn NaN into a number.
    refuseInfinite(samples, this.inputShape, 'samples');
    return samples.length / width;
  }
}

/** The factor of a byte; undefined where samples are not bytes. */
function scaleOf({ transforms }: ModelDescription): number | undefined {
  const [first] = transforms.features;
  if (first?.kind === 'pixels') return first.scale;
  if (first?.kind === 'array') return first.byteScale ?? undefined;
  return first?.kind === 'bytes' ? 1 : undefined;
}

/** Samples without targets. */
function layoutOf(description: ModelDescription, featureType: 'f32' | 'u8', numRows: number): RowLayout {
  return {
    numRows,
    featureShape: description.inputShape,
    featureType,
    featureScale: scaleOf(description) ?? 1,
    targetKind: 'values',
    targetWidth: 0,
    numClasses: 0,
    hasSampleWeights: false,
  };
}
