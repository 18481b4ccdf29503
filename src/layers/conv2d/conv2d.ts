// Convolution over images: y = f(W * x + b), weights as PyTorch has them: [filters, channels /
// groups, height, width]. runner.ts takes a microbatch through it, and sample-convolutions.ts has
// the two ways to compute one sample.
import { z } from 'zod';
import { packedLeftLength } from '../../kernels/kernels.ts';
import { formatShape } from '../../shape.ts';
import type { Shape } from '../../shape.ts';
import { ACTIVATIONS } from '../activation.ts';
import { INITIALIZERS, defaultInitializer, initialValues } from '../initializer.ts';
import type { Layer, LayerBuilder, LayerRunner, PackOptions, ParameterTensor, Workspace } from '../layer.ts';
import { GEOMETRY_LENGTH, pairSchema, resolveWindow, writeGeometry } from '../window.ts';
import type { Window } from '../window.ts';
import { ConvolutionRunner } from './runner.ts';
import type { Convolution } from './runner.ts';
import { DepthwiseConvolution, MatrixConvolution } from './sample-convolutions.ts';

export const conv2dSchema = z.strictObject({
  kind: z.literal('conv2d'),
  filters: z.int().min(1).max(65_536).describe('Output channels of the layer'),
  kernelSize: pairSchema(1).describe('Height and width of a filter: n or [height, width]'),
  stride: pairSchema(1).default(1).describe('Distance between windows: n or [vertical, horizontal]'),
  padding: z
    .union([z.enum(['valid', 'same']), pairSchema(0)])
    .default(0)
    .describe(
      'Zeros around the image: n or [vertical, horizontal]; same keeps its size at stride 1, valid is none',
    ),
  dilation: pairSchema(1).default(1).describe('Distance between the taps of a filter'),
  groups: z
    .int()
    .min(1)
    .max(65_536)
    .default(1)
    .describe('Groups of channels that are convolved independently; as many as channels: depthwise'),
  activation: z.enum(ACTIVATIONS).default('linear').describe('Applied to every output of the layer'),
  bias: z.boolean().default(true).describe('Whether each filter adds a learned constant'),
  initializer: z
    .enum(INITIALIZERS)
    .optional()
    .describe('Default: glorotUniform before linear, tanh and sigmoid, heUniform otherwise'),
});

export type Conv2dSpec = z.output<typeof conv2dSchema>;

/** A convolution over images. */
export class Conv2dLayer implements Layer, Convolution {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly needsInputGradient: boolean;
  readonly spec: Conv2dSpec;
  readonly window: Window;
  readonly group: Convolution['group'];
  readonly weight: ParameterTensor;
  readonly bias: ParameterTensor | undefined;

  constructor(spec: Conv2dSpec, inputShape: Shape, builder: LayerBuilder) {
    const { filters, kernelSize, stride, padding, dilation, groups } = spec;
    const window = resolveWindow({ size: kernelSize, stride, padding, dilation }, inputShape, builder);
    if (window.channels % groups !== 0 || filters % groups !== 0) {
      throw builder.refuse(
        `${groups} groups must divide both its ${window.channels} channels and its ${filters} filters`,
      );
    }
    const channels = window.channels / groups;
    this.spec = spec;
    this.inputShape = inputShape;
    this.outputShape = [filters, window.outHeight, window.outWidth];
    this.needsInputGradient = builder.needsInputGradient;
    this.window = window;
    this.group = { channels, filters: filters / groups, depth: channels * window.taps };
    this.weight = builder.tensor({
      name: 'weight',
      shape: [filters, channels, ...window.size],
      role: 'weight',
      initial: initialValues(spec.initializer ?? defaultInitializer(spec.activation), {
        fanIn: this.group.depth,
        fanOut: this.group.filters * window.taps,
      }),
    });
    this.bias = spec.bias
      ? builder.tensor({
          name: 'bias',
          shape: [filters],
          role: 'bias',
          initial: { kind: 'constant', value: 0 },
        })
      : undefined;
  }

  get tensors(): ParameterTensor[] {
    return this.bias ? [this.weight, this.bias] : [this.weight];
  }

  get numModules(): number {
    return this.spec.activation === 'linear' ? 1 : 2;
  }

  /** One channel a group, where a matrix product would leave most of its tile unused. */
  get isDepthwise(): boolean {
    return this.spec.groups > 1 && this.group.channels === 1;
  }

  describe(): string {
    const activation = this.spec.activation === 'linear' ? '' : ` ${this.spec.activation}`;
    const shapes = `${formatShape(this.inputShape)} -> ${formatShape(this.outputShape)}`;
    return `conv2d ${formatShape(this.window.size)} ${shapes}${activation}`;
  }

  /**
   * Geometry, bias (zeros without one), then panels of W and of W^T, group after group,
   * or the depthwise weights.
   */
  get packedLengths(): number[] {
    const { spec, group, needsInputGradient } = this;
    const weights = this.isDepthwise
      ? [this.weight.length]
      : [
          spec.groups * packedLeftLength(group.filters, group.depth),
          needsInputGradient ? spec.groups * packedLeftLength(group.depth, group.filters) : 0,
        ];
    return [GEOMETRY_LENGTH, spec.filters, ...weights];
  }

  pack({ kernels, memory, flat, packed, part }: PackOptions): void {
    if (part !== 0) return;
    const { spec, group, weight, bias, window, needsInputGradient } = this;
    const [geometry, biases, forward, backward] = packed as [number, number, number, number];
    const source = flat + 4 * weight.offset;
    writeGeometry(memory, geometry, window);
    if (bias) kernels.copyValues(flat + 4 * bias.offset, bias.length, biases);
    if (this.isDepthwise) {
      kernels.copyValues(source, weight.length, forward);
      return;
    }
    const { filters, depth } = group;
    for (let index = 0; index < spec.groups; index++) {
      const weights = source + 4 * index * filters * depth;
      const left = forward + 4 * index * packedLeftLength(filters, depth);
      kernels.packLeftRows(weights, filters, depth, depth, left);
      if (!needsInputGradient) continue;
      const transposed = backward + 4 * index * packedLeftLength(depth, filters);
      kernels.packLeftColumns(weights, depth, filters, depth, transposed);
    }
  }

  createRunner(workspace: Workspace): LayerRunner {
    const sample = this.isDepthwise
      ? new DepthwiseConvolution(this, workspace)
      : new MatrixConvolution(this, workspace);
    return new ConvolutionRunner(this, workspace, sample);
  }
}
