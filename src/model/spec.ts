// The user's description of a model, as it stands in the config file and travels to workers.

/** Elementwise functions a layer may end with; `linear` is the identity. */
export const ACTIVATIONS = ['linear', 'relu', 'leakyRelu', 'tanh', 'sigmoid'] as const;
export type Activation = (typeof ACTIVATIONS)[number];

/** Weight initialisers. `he*` scale by fan-in, `glorot*` by fan-in + fan-out; biases start at zero. */
export const INITIALIZERS = ['heUniform', 'heNormal', 'glorotUniform', 'glorotNormal', 'zeros'] as const;
export type Initializer = (typeof INITIALIZERS)[number];

/** A fully connected layer: y = activation(x W^T + b), W is [units, inputs]. */
export interface DenseSpec {
  readonly kind: 'dense';
  readonly units: number;
  readonly activation: Activation;
  readonly bias: boolean;
  /** Default: heUniform before relu and leakyRelu, glorotUniform otherwise. */
  readonly initializer?: Initializer | undefined;
}

export type LayerSpec = DenseSpec;

/** What is minimised: mean squared error, or softmax cross-entropy over class logits. */
export const LOSSES = ['mse', 'crossEntropy'] as const;
export type Loss = (typeof LOSSES)[number];

export interface ModelSpec {
  readonly layers: readonly LayerSpec[];
}
