// Sizes of layers on images, and the errors of layers that do not fit their input.
import { describe, expect, it } from 'vitest';
import { layerSchema } from '../../../../src/layers/registry.ts';
import type { LayerInput } from '../../../../src/layers/registry.ts';
import type { Shape } from '../../../../src/shape.ts';
import { describeModel, resolveModel } from '../../../../src/model/model.ts';
import type { Model } from '../../../../src/model/model.ts';

function modelOf(inputShape: Shape, ...layers: readonly LayerInput[]): Model {
  return resolveModel({ layers: layers.map((layer) => layerSchema.parse(layer)) }, inputShape);
}

describe('a window', () => {
  it.each([
    [{ kernelSize: 3 }, [2, 8, 10], [4, 6, 8]],
    [{ kernelSize: 3, padding: 'valid' }, [2, 8, 10], [4, 6, 8]],
    [{ kernelSize: 3, padding: 1 }, [2, 8, 10], [4, 8, 10]],
    [{ kernelSize: [4, 2], padding: 'same' }, [2, 8, 10], [4, 8, 10]],
    [{ kernelSize: 3, padding: 'same', stride: 2 }, [2, 7, 10], [4, 4, 5]],
    [{ kernelSize: 1, padding: 'same', stride: 3 }, [2, 7, 9], [4, 3, 3]],
    [{ kernelSize: 3, padding: [1, 0], stride: [2, 3] }, [2, 9, 9], [4, 5, 3]],
    [{ kernelSize: 3, dilation: [1, 4] }, [2, 9, 9], [4, 7, 1]],
  ] as const)('a window of %j on %j gives %j', (options, inputShape, outputShape) => {
    const model = modelOf(inputShape, { kind: 'conv2d', filters: 4, ...options } as LayerInput);
    expect(model.outputShape).toEqual(outputShape);
  });

  it('a pooling window moves by its own size by default', () => {
    expect(modelOf([3, 9, 8], { kind: 'maxPool2d', size: [2, 3] }).outputShape).toEqual([3, 4, 2]);
    expect(modelOf([3, 9, 8], { kind: 'avgPool2d', size: 3, stride: 1, padding: 1 }).outputShape).toEqual([
      3, 9, 8,
    ]);
  });
});

describe('layers on images', () => {
  it('layers on images describe themselves on one line each, and their tensors are numbered as in PyTorch', () => {
    const model = modelOf(
      [4, 28, 28],
      { kind: 'conv2d', filters: 8, kernelSize: 3, padding: 'same', groups: 4, activation: 'relu' },
      { kind: 'maxPool2d', size: 2 },
      { kind: 'conv2d', filters: 16, kernelSize: [1, 3], bias: false },
      { kind: 'globalAvgPool2d' },
      { kind: 'reshape', shape: [4, 2, 2] },
      { kind: 'flatten' },
      { kind: 'dense', units: 10 },
    );
    expect(describeModel(model)).toEqual([
      'layer 0: conv2d 3x3 4x28x28 -> 8x28x28 relu (80 parameters)',
      'layer 1: maxPool2d 2x2 8x28x28 -> 8x14x14 (0 parameters)',
      'layer 2: conv2d 1x3 8x14x14 -> 16x14x12 (384 parameters)',
      'layer 3: globalAvgPool2d 16x14x12 -> 16 (0 parameters)',
      'layer 4: reshape 16 -> 4x2x2 (0 parameters)',
      'layer 5: reshape 4x2x2 -> 16 (0 parameters)',
      'layer 6: dense 16 -> 10 (170 parameters)',
    ]);
    // Numbered like modules of PyTorch: the activation is one, and the pooling of channels
    // is two with its Flatten.
    expect(model.tensors.map(({ name }) => name)).toEqual([
      ...['0.weight', '0.bias', '3.weight', '8.weight', '8.bias'],
    ]);
  });
});

describe('a layer that does not fit', () => {
  it.each([
    [[784], { kind: 'conv2d', filters: 8, kernelSize: 3 }, 'it needs images: [channels, height, width]'],
    [[784], { kind: 'globalAvgPool2d' }, 'it needs images: [channels, height, width]'],
    [
      [1, 4, 6],
      { kind: 'conv2d', filters: 8, kernelSize: [5, 3] },
      'a window that reaches over 5x3 values does not fit into 4x6, the padding included',
    ],
    [
      [1, 4, 4],
      { kind: 'conv2d', filters: 8, kernelSize: 3, dilation: 3, padding: 1 },
      'a window that reaches over 7x7 values does not fit into 6x6, the padding included',
    ],
    [
      [6, 8, 8],
      { kind: 'conv2d', filters: 8, kernelSize: 3, groups: 3 },
      '3 groups must divide both its 6 channels and its 8 filters',
    ],
    [
      [1, 8, 8],
      { kind: 'maxPool2d', size: [2, 3], padding: 2 },
      'a border of 2x2 is more than half a window of 2x3',
    ],
    [[12], { kind: 'reshape', shape: [1, 3, 5] }, '12 values do not fill 1x3x5, which takes 15'],
  ] as const)(
    'a layer that does not fit on %j is refused with the reason: %j',
    (inputShape, layer, reason) => {
      const on = inputShape.join('x');
      expect(() => modelOf(inputShape, layer as LayerInput)).toThrow(
        `model.layers.0: ${layer.kind} on ${on}: ${reason}`,
      );
    },
  );
});
