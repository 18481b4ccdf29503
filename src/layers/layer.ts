// The interface of a layer: sizes and parameters, known before anything runs
// (`Layer`), and the buffers with which one compute thread runs it (`LayerRunner`).
// docs/layers.md shows how to add one.
//
//   spec --create--> Layer --pack--> packed weights, shared by the threads of a process
//                      |
//                      +--createRunner(Workspace)--> LayerRunner: forward and backward of a microbatch
import type { LockstepError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';
import type { Shape } from '../shape.ts';

/**
 * The role of a tensor for the optimizer. Biases and the gains of norms are exempt from
 * weight decay by default.
 */
export type ParameterRole = 'weight' | 'bias' | 'norm' | 'statistic';

/**
 * The values that a tensor starts from. A uniform draw lies within +-scale; a
 * normal one has that deviation.
 */
export type InitialValues =
  | { readonly kind: 'uniform' | 'normal'; readonly scale: number }
  | { readonly kind: 'constant'; readonly value: number };

/** A named part of the flat parameter vector; offset and length count f32. */
export interface ParameterTensor {
  /** PyTorch's name in a Sequential where each activation is a module of its own: `0.weight`. */
  readonly name: string;
  readonly shape: Shape;
  readonly offset: number;
  readonly length: number;
  readonly role: ParameterRole;
  readonly initial: InitialValues;
  /**
   * Statistics only, which no gradient moves: the layer adds to its gradient the sum over samples of a batch
   * statistic, and a step takes the tensor this share of the way to the batch's mean.
   */
  readonly momentum?: number | undefined;
  /**
   * Statistics only: values that a sample adds to each element's. A shard with a
   * single one has no variance.
   */
  readonly valuesPerSample?: number | undefined;
}

/** A layer's description of a tensor. */
export interface TensorOptions extends Omit<ParameterTensor, 'offset' | 'length'> {
  /** The one of the layer's modules that has it, from 0; default: the first. */
  readonly module?: number | undefined;
}

/** A list of layers inside a layer. */
export interface StackOptions {
  /** Prefix of the names of its tensors. */
  readonly name: string;
  /** The field of the layer's config that lists it. */
  readonly field: string;
  readonly specs: readonly { readonly kind: string }[];
  readonly inputShape: Shape;
}

/** The means by which a layer lays out its tensors and nested layers. */
export interface LayerBuilder {
  /** Number of the layer among all of the model, nested ones included: keys its random draws. */
  readonly index: number;
  /** False below the first parameters of the model: then `backward` need not compute dX. */
  readonly needsInputGradient: boolean;
  /** Appends a tensor to the flat parameter vector; its name gets the prefix of its module. */
  tensor(options: TensorOptions): ParameterTensor;
  /** Makes a nested list of layers. */
  stack(options: StackOptions): Layer;
  /** The error for a layer that does not fit its input: names the layer and its place in the config. */
  refuse(message: string, help?: string): LockstepError;
}

/** A layer with all sizes known. Holds no buffers and may be shared by threads. */
export interface Layer {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  /** Tensors in the order of the flat vector. */
  readonly tensors: readonly ParameterTensor[];
  /** Modules of a PyTorch Sequential that the layer stands for: an activation counts as one of its own. */
  readonly numModules: number;
  /** Describes the layer without its parameters: `dense 784 -> 256 relu`. */
  describe(): string;
  /** f32 lengths of the blocks that `pack` fills. */
  readonly packedLengths: readonly number[];
  /** Brings the weights into the form that the runners of all threads read. */
  pack(options: PackOptions): void;
  /** Lays out the buffers of one thread. Called on a counting workspace first, to plan memory. */
  createRunner(workspace: Workspace): LayerRunner;
}

/** One thread's share of packing a layer. */
export interface PackOptions {
  readonly kernels: Kernels;
  readonly memory: Memory;
  /** Address of the model's flat vector; not read again once packed. */
  readonly flat: number;
  /** Addresses of the layer's blocks. */
  readonly packed: readonly number[];
  /** This is thread `part` of `numParts`; small blocks are packed by part 0. */
  readonly part: number;
  readonly numParts: number;
}

/** The memory in which one thread runs a layer. All lengths count f32. */
export interface Workspace {
  readonly kernels: Kernels;
  readonly memory: Memory;
  /** The most samples of a microbatch. */
  readonly maxRows: number;
  /** The most shards of a microbatch. */
  readonly maxShards: number;
  /** Addresses of the layer's packed weights. */
  readonly packed: readonly number[];
  /** Memory that lasts from forward to backward. */
  activations(length: number): number;
  /**
   * Blocks that are the layer's until its forward or backward returns; every call hands
   * out the same memory again.
   */
  scratch(...lengths: readonly number[]): number[];
  /** Announces that an error (dX) of this length will be asked for. */
  reserveError(length: number): void;
  /** The error block that does not hold `dY`: there are two, which layers use in turn. */
  otherError(dY: number): number;
  /**
   * Address of the u32 bounds of the microbatch's shards, each times `scale`:
   * filled before each microbatch.
   */
  shardBounds(scale: number): number;
  /** The same workspace for a nested layer. */
  nested(packed: readonly number[]): Workspace;
}

/** Samples that go through the layers at once, and the place of their gradients. */
export interface Microbatch {
  /** Number of samples. */
  readonly rows: number;
  readonly isTraining: boolean;
  readonly seed: number;
  /** Optimizer steps taken so far: keys random draws. */
  readonly step: number;
  /** Address of the u32 [rows] dataset rows of the samples: keys random draws. */
  readonly sampleIndices: number;
  /** Shard i holds the samples [bounds[i], bounds[i + 1]). */
  readonly bounds: Uint32Array;
  /**
   * Address of the flat f32 vector of the microbatch's sums of gradients; a layer
   * sets its tensors' parts.
   */
  readonly gradient: number;
  /**
   * Announces that the gradient is final from this offset of the flat vector up to
   * where it was final before.
   */
  complete(offset: number): void;
  /**
   * The first offset of the bucket of the flat vector that ends at or after `end`: a
   * good place to complete next.
   */
  bucketStart(end: number): number;
}

/** One thread's buffers of a layer. */
export interface LayerRunner {
  /** Computes y [rows, outputShape] from x [rows, inputShape]; returns its address, which may be x. */
  forward(microbatch: Microbatch, x: number): number;
  /**
   * Sets the gradients of the layer's tensors; returns the address of dX, or 0 where nobody
   * needs it. May overwrite dY.
   */
  backward(microbatch: Microbatch, dY: number): number;
}
