// The model: sizes, parameter layout and buckets, from a list of layers and the shape of a sample.
//
// The parameters are one flat f32 vector, layer after layer. That vector is what is hashed, sent and saved;
// names and shapes are offsets into it.
import { LockstepError } from '../errors.ts';
import { MEMORY_LIMIT_BYTES } from '../memory.ts';
import { formatCount } from '../printable.ts';
import { formatShape, sizeOf } from '../shape.ts';
import type { Layer, LayerBuilder, ParameterTensor } from '../layers/layer.ts';
import type { Shape } from '../shape.ts';
import { createLayer } from '../layers/registry.ts';
import type { LayerSpec } from '../layers/registry.ts';
import { Stack } from '../layers/stack.ts';

/** The user's description of a model, as it stands in the config file and travels to workers. */
export interface ModelSpec {
  readonly layers: readonly LayerSpec[];
}

/** A contiguous slice of the flat vector that travels as one message; never larger than 4 MiB. */
export interface Bucket {
  readonly offset: number;
  readonly length: number;
}

/** A model with all sizes resolved. */
export interface Model {
  readonly spec: ModelSpec;
  readonly stack: Stack;
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  /** Values of one sample's output. */
  readonly outputWidth: number;
  readonly numParameters: number;
  readonly tensors: readonly ParameterTensor[];
  /**
   * Buckets in the order in which the backward pass completes them: from the end of the
   * flat vector to its start.
   */
  readonly buckets: readonly Bucket[];
}

/** A flat vector fills all of a wasm32 memory with this many f32. */
const MAX_PARAMETERS = MEMORY_LIMIT_BYTES / 4;

/**
 * f32 that a bucket is cut to: 512 KiB, far below what a message may carry, so that one bucket is
 * computed while another travels.
 */
const BUCKET_LENGTH = 131_072;
/** A shorter rest goes with its neighbour: below 64 KiB a message costs more than its bytes. */
const MIN_BUCKET_LENGTH = 16_384;

/**
 * Resolves sizes, parameter offsets and buckets for samples of `inputShape`.
 * @throws LockstepError (exit 2) for layers that do not fit, or have more parameters than any memory holds.
 */
export function resolveModel(spec: ModelSpec, inputShape: Shape): Model {
  const builder = new ModelBuilder();
  const stack = builder.stack(spec.layers, inputShape, { prefix: '', path: 'model.layers' });
  const { tensors, numParameters } = builder;
  // Before anything grows with their number, the list of buckets first of all.
  if (numParameters > MAX_PARAMETERS) throw tooManyParameters(builder);
  return {
    spec,
    stack,
    inputShape,
    outputShape: stack.outputShape,
    outputWidth: sizeOf(stack.outputShape),
    numParameters,
    tensors,
    buckets: cutBuckets(numParameters),
  };
}

/** The place of a list of layers: in the names of tensors, and in the config. */
interface Place {
  readonly prefix: string;
  readonly path: string;
}

/** The place of a layer. */
interface LayerPlace extends Place {
  /** The number of its first module. */
  readonly module: number;
}

/** Numbers layers and lays out tensors while a model is resolved. */
class ModelBuilder {
  readonly tensors: ParameterTensor[] = [];
  numParameters = 0;
  #numLayers = 0;

  stack(specs: readonly LayerSpec[], inputShape: Shape, { prefix, path }: Place): Stack {
    const needsInputGradient = this.numParameters > 0;
    const layers: Layer[] = [];
    let moduleIndex = 0;
    let shape = inputShape;
    for (const [index, spec] of specs.entries()) {
      const place = { prefix, module: moduleIndex, path: `${path}.${index}` };
      const layer = createLayer(spec, shape, this.#layerBuilder(spec.kind, shape, place));
      layers.push(layer);
      moduleIndex += layer.numModules;
      shape = layer.outputShape;
    }
    return new Stack(inputShape, layers, needsInputGradient);
  }

  #layerBuilder(kind: string, inputShape: Shape, { prefix, module: first, path }: LayerPlace): LayerBuilder {
    return {
      index: this.#numLayers++,
      needsInputGradient: this.numParameters > 0,
      tensor: ({ module = 0, ...options }) => {
        const length = sizeOf(options.shape);
        const name = `${prefix}${first + module}.${options.name}`;
        const tensor = { ...options, name, offset: this.numParameters, length };
        this.tensors.push(tensor);
        this.numParameters += length;
        return tensor;
      },
      stack: ({ name, field, specs, inputShape: shape }) =>
        this.stack(specs as readonly LayerSpec[], shape, {
          prefix: `${prefix}${first}.${name}.`,
          path: `${path}.${field}`,
        }),
      refuse: (message, help) =>
        new LockstepError({
          category: 'usage',
          code: 'E_MODEL_SHAPE',
          message: `${path}: ${kind} on ${formatShape(inputShape)}: ${message}`,
          ...(help === undefined ? {} : { help }),
        }),
    };
  }
}

function tooManyParameters({ numParameters, tensors }: ModelBuilder): LockstepError {
  const largest = tensors.reduce((one, other) => (other.length > one.length ? other : one));
  return new LockstepError({
    category: 'usage',
    code: 'E_TOO_LARGE',
    message: `the model has ${formatCount(numParameters)} parameters; WebAssembly can address ${formatCount(MAX_PARAMETERS)}`,
    help: `use fewer units; the largest tensor is ${largest.name}, ${formatShape(largest.shape)}`,
  });
}

/** Cuts the flat vector from its end. */
function cutBuckets(numParameters: number): Bucket[] {
  const buckets: Bucket[] = [];
  for (let end = numParameters; end > 0;) {
    const start = end < BUCKET_LENGTH + MIN_BUCKET_LENGTH ? 0 : end - BUCKET_LENGTH;
    buckets.push({ offset: start, length: end - start });
    end = start;
  }
  return buckets;
}

/** One line a layer: what a shape error and `--dry-run` show. */
export function describeModel(model: Model): string[] {
  return model.stack.layers.map((layer, index) => {
    const parameters = layer.tensors.reduce((total, tensor) => total + tensor.length, 0);
    return `layer ${index}: ${layer.describe()} (${formatCount(parameters)} parameters)`;
  });
}
