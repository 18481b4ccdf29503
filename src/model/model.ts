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

/** The description of a model, as it travels to workers. */
export interface ModelSpec {
  /** The user's, as they stand in the config file, after that of columns if there is one. */
  readonly layers: readonly LayerSpec[];
  /** Cuts blocks into several buckets; default: a block is a bucket. */
  readonly smallBuckets?: boolean | undefined;
}

/** A contiguous slice of the flat vector. */
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
   * The parts of the flat vector whose squares and fingerprints are taken as one; the same for every
   * cluster. From its end to its start: the order in which the backward pass completes them.
   */
  readonly blocks: readonly Bucket[];
  /** The parts that travel as one message: the blocks or, in the same order, slices of them. */
  readonly buckets: readonly Bucket[];
}

/** A flat vector fills all of a wasm32 memory with this many f32. */
const MAX_PARAMETERS = MEMORY_LIMIT_BYTES / 4;

/**
 * f32 that a block is cut to: 512 KiB, far below what a message may carry, so that one is computed
 * while another travels.
 */
const BLOCK_LENGTH = 131_072;
/**
 * On the links of a network gradients travel up while the weights of earlier buckets travel down, so
 * a step lasts longer than the bytes of one direction by the time of one bucket: about 1/32 of it.
 */
const MOST_SMALL_BUCKETS = 32;
/** Below 32 KiB a message costs more than its bytes, also at 1 Gbit/s. */
const MIN_SMALL_BUCKET_LENGTH = 8_192;

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
  const blocks = cut({ offset: 0, length: numParameters }, BLOCK_LENGTH);
  return {
    spec,
    stack,
    inputShape,
    outputShape: stack.outputShape,
    outputWidth: sizeOf(stack.outputShape),
    numParameters,
    tensors,
    blocks,
    buckets: spec.smallBuckets ? cutSmall(blocks, numParameters) : blocks,
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
    // Errors name a layer by its place in the config.
    const numOwn = specs[0]?.kind === 'columnEmbeddings' ? 1 : 0;
    for (const [index, spec] of specs.entries()) {
      const place = { prefix, module: moduleIndex, path: `${path}.${index - numOwn}` };
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

/** Cuts a slice from its end; a rest shorter than an eighth of a part goes with its neighbour. */
function cut({ offset, length: total }: Bucket, length: number): Bucket[] {
  const parts: Bucket[] = [];
  for (let end = offset + total; end > offset;) {
    const start = end - offset < length + length / 8 ? offset : end - length;
    parts.push({ offset: start, length: end - start });
    end = start;
  }
  return parts;
}

function cutSmall(blocks: readonly Bucket[], numParameters: number): readonly Bucket[] {
  const length = Math.max(MIN_SMALL_BUCKET_LENGTH, Math.ceil(numParameters / MOST_SMALL_BUCKETS));
  return length < BLOCK_LENGTH ? blocks.flatMap((block) => cut(block, length)) : blocks;
}

/** One line a layer: what a shape error and `--dry-run` show. */
export function describeModel(model: Model): string[] {
  return model.stack.layers.map((layer, index) => {
    const parameters = layer.tensors.reduce((total, tensor) => total + tensor.length, 0);
    return `layer ${index}: ${layer.describe()} (${formatCount(parameters)} parameters)`;
  });
}
