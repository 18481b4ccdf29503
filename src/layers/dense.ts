// Fully connected: y = f(x W^T + b). Letters: B rows, I inputs, O outputs.
import { z } from 'zod';
import { ACTIVATIONS, BiasActivation } from './activation.ts';
import { INITIALIZERS, defaultInitializer, initialValues } from './initializer.ts';
import { formatShape, sizeOf } from '../shape.ts';
import type {
  Layer,
  LayerBuilder,
  LayerRunner,
  PackOptions,
  ParameterTensor,
  Microbatch,
  Workspace,
} from './layer.ts';
import type { Shape } from '../shape.ts';
import { Linear, LinearRunner } from './linear.ts';

export const denseSchema = z.strictObject({
  kind: z.literal('dense'),
  units: z.int().min(1).max(1_048_576).describe('Outputs of the layer'),
  activation: z.enum(ACTIVATIONS).default('linear').describe('Applied to every output of the layer'),
  bias: z.boolean().default(true).describe('Whether each unit adds a learned constant'),
  initializer: z
    .enum(INITIALIZERS)
    .optional()
    .describe('Default: glorotUniform before linear, tanh and sigmoid, heUniform otherwise'),
});

export type DenseSpec = z.output<typeof denseSchema>;

/** A dense layer. Each position of [positions, features] is a row; an image is taken as one flat row. */
export class DenseLayer implements Layer {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly needsInputGradient: boolean;
  readonly spec: DenseSpec;
  readonly inputs: number;
  readonly outputs: number;
  /** Matrix rows of one sample. */
  readonly rowsPerSample: number;
  readonly linear: Linear;

  constructor(spec: DenseSpec, inputShape: Shape, builder: LayerBuilder) {
    const isSequence = inputShape.length === 2;
    this.spec = spec;
    this.inputShape = inputShape;
    this.needsInputGradient = builder.needsInputGradient;
    this.rowsPerSample = isSequence ? (inputShape[0] as number) : 1;
    this.inputs = sizeOf(inputShape) / this.rowsPerSample;
    this.outputs = spec.units;
    this.outputShape = isSequence ? [this.rowsPerSample, spec.units] : [spec.units];
    const initializer = spec.initializer ?? defaultInitializer(spec.activation);
    const { inputs, outputs, rowsPerSample, needsInputGradient } = this;
    this.linear = new Linear(
      {
        inputs,
        outputs,
        rowsPerSample,
        needsInputGradient,
        names: { weight: 'weight', bias: spec.bias ? 'bias' : undefined },
        initial: initialValues(initializer, { fanIn: inputs, fanOut: outputs }),
        module: this.numFlattens,
      },
      builder,
    );
  }

  get weight(): ParameterTensor {
    return this.linear.weight;
  }

  get bias(): ParameterTensor | undefined {
    return this.linear.bias;
  }

  get tensors(): ParameterTensor[] {
    return this.linear.tensors;
  }

  /** PyTorch's Linear takes no image: a Flatten stands before it. */
  get numFlattens(): number {
    return this.inputShape.length > 2 ? 1 : 0;
  }

  get numModules(): number {
    return this.numFlattens + (this.spec.activation === 'linear' ? 1 : 2);
  }

  describe(): string {
    const activation = this.spec.activation === 'linear' ? '' : ` ${this.spec.activation}`;
    return `dense ${formatShape(this.inputShape)} -> ${formatShape(this.outputShape)}${activation}`;
  }

  get packedLengths(): number[] {
    return this.linear.packedLengths;
  }

  pack(options: PackOptions): void {
    this.linear.pack(options);
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new DenseRunner(this, workspace);
  }
}

class DenseRunner implements LayerRunner {
  readonly #layer: DenseLayer;
  readonly #workspace: Workspace;
  readonly #linear: LinearRunner;
  readonly #end: BiasActivation;
  #x = 0;

  constructor(layer: DenseLayer, workspace: Workspace) {
    const { inputs, outputs, rowsPerSample, linear, needsInputGradient, spec } = layer;
    const rows = workspace.maxRows * rowsPerSample;
    this.#layer = layer;
    this.#workspace = workspace;
    this.#end = new BiasActivation(workspace, spec.activation, rows * outputs);
    this.#linear = new LinearRunner(
      linear,
      workspace,
      workspace.packed,
      workspace.scratch(...linear.scratchLengths(workspace)),
    );
    if (needsInputGradient) workspace.reserveError(rows * inputs);
  }

  forward(microbatch: Microbatch, x: number): number {
    const { outputs, rowsPerSample } = this.#layer;
    this.#x = x;
    this.#linear.forward(microbatch, x, this.#end.sums);
    this.#end.forward(this.#linear.biases, microbatch.rows * rowsPerSample, outputs);
    return this.#end.outputs;
  }

  backward(microbatch: Microbatch, dY: number): number {
    const { outputs, rowsPerSample, needsInputGradient } = this.#layer;
    this.#end.backward(dY, microbatch.rows * rowsPerSample * outputs);
    this.#linear.parameterGradients(microbatch, this.#x, dY);
    if (!needsInputGradient) return 0;
    const dX = this.#workspace.otherError(dY);
    this.#linear.inputGradient(microbatch, dY, dX);
    return dX;
  }
}
