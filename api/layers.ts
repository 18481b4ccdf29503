// Layers as typed calls: `dense({ units: 64, activation: 'relu' })` is the mapping that a config file would
// hold, with its fields completed and checked by an editor.
import type { LayerInput } from '../src/layers/registry.ts';

type InputOf<Kind extends LayerInput['kind']> = Extract<LayerInput, { kind: Kind }>;
type OptionsOf<Kind extends LayerInput['kind']> = Omit<InputOf<Kind>, 'kind'>;
/** Arguments of a builder: the options can be omitted if none is required. */
type Arguments<Options> = Record<never, never> extends Options ? [options?: Options] : [options: Options];

/** A call that makes a layer of one kind. */
type Builder<Kind extends LayerInput['kind']> = (...args: Arguments<OptionsOf<Kind>>) => InputOf<Kind>;

function builder<Kind extends LayerInput['kind']>(kind: Kind): Builder<Kind> {
  return (...[options]) => ({ kind, ...options }) as InputOf<Kind>;
}

/** Layers one after the other, as `model` of a config. */
export function sequential(layers: readonly LayerInput[]): {
  /** The layers, in their order. */
  layers: LayerInput[];
} {
  return { layers: [...layers] };
}

/**
 * Fully connected, y = activation(x W^T + b): [..., features] to [..., units]; an image is taken as one row.
 * Options: `units`; `activation`, default `linear`; `bias`, default true; `initializer`.
 */
export const dense = builder('dense');
/** A function of every value, or `softmax` over the last axis; keeps the shape. Option: `function`. */
export const activation = builder('activation');
/**
 * Mean 0 and variance 1 over the last axis, times a learned gain, plus a learned bias; keeps the shape.
 * Option: `epsilon`, default 1e-5.
 */
export const layerNorm = builder('layerNorm');
/**
 * The same for each feature, or channel of an image, over the samples of a shard; keeps the shape. In
 * evaluation running statistics are used. Options: `momentum`, their share of a batch's, default 0.1;
 * `epsilon`, default 1e-5.
 */
export const batchNorm = builder('batchNorm');
/** Values dropped at random in training, others divided by 1 - rate; keeps the shape. Option: `rate`, 0 to 0.99. */
export const dropout = builder('dropout');
/**
 * Images mirrored, moved and cropped at random in training: [channels, height, width] to the same, or `crop`.
 * Options: `flip`; `shift`, most pixels, default 0; `crop`, [height, width] that are cut out.
 */
export const augment = builder('augment');
/**
 * A learned vector for each token: ids [positions] to [positions, units]. Options: `vocabulary`, ids are from
 * 0 to vocabulary - 1; `units`.
 */
export const embedding = builder('embedding');
/** A learned vector for each position, added: keeps [positions, units]. */
export const positionalEmbedding = builder('positionalEmbedding');
/**
 * Multi-head self-attention: keeps [positions, units]. Options: `heads`, which divides units; `causal`, whether
 * a position sees only itself and those before it, default false.
 */
export const attention = builder('attention');
/**
 * Layers whose output is added to their input. Options: `layers`; `shortcut`, layers that the input goes
 * through before, needed where `layers` change the shape.
 */
export const residual = builder('residual');

/**
 * Convolution, as PyTorch's Conv2d: [channels, height, width] to [filters, height, width]. Options: `filters`;
 * `kernelSize`, one number or [height, width], as all that follow; `stride`, default 1; `padding`, default 0, or
 * `same` or `valid`; `dilation`, default 1; `groups`, default 1; `activation`, `bias` and `initializer` of `dense`.
 */
export const conv2d = builder('conv2d');
/**
 * The largest value of each window: keeps channels. Options: `size`, one number or [height, width]; `stride`,
 * default `size`; `padding`, default 0.
 */
export const maxPool2d = builder('maxPool2d');
/** The mean of each window, with the options of `maxPool2d`; the border counts as zeros. */
export const avgPool2d = builder('avgPool2d');
/** The mean of each channel: [channels, height, width] to [channels]. */
export const globalAvgPool2d = builder('globalAvgPool2d');
/** All values of a sample as one row, channels outermost: any shape to [features]. */
export const flatten = builder('flatten');
/** Another shape for the same values. Option: `shape` of a sample, 1 to 3 sizes. */
export const reshape = builder('reshape');
/**
 * Long short-term memory, PyTorch's `nn.LSTM`: [positions, features] to [units], those of the last position.
 * Options: `units`; `returnSequences`, which gives [positions, units], default false.
 */
export const lstm = builder('lstm');
/** Gated recurrent units, PyTorch's `nn.GRU`, with shapes and options of `lstm`. */
export const gru = builder('gru');
