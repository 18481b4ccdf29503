// A small training on images that uses every kind of layer except `embedding`: for tests of bits.
import path from 'node:path';
import type { LayerInput } from '../../src/layers/registry.ts';
import { ROOT } from './cli.ts';

export const FASHION_CONFIG = path.join(ROOT, 'examples/fashion/fashion.yaml');

export const EVERY_LAYER: readonly LayerInput[] = [
  { kind: 'augment', flip: 'horizontal', shift: 2, crop: [27, 28] },
  { kind: 'conv2d', filters: 4, kernelSize: 3, stride: 2, padding: 'same', bias: false },
  { kind: 'batchNorm' },
  { kind: 'activation', function: 'silu' },
  { kind: 'maxPool2d', size: 2 },
  {
    kind: 'residual',
    layers: [{ kind: 'conv2d', filters: 4, kernelSize: 3, padding: 'same', groups: 4 }],
  },
  { kind: 'avgPool2d', size: 2 },
  {
    kind: 'residual',
    layers: [{ kind: 'globalAvgPool2d' }, { kind: 'dense', units: 36, activation: 'geluTanh' }],
    shortcut: [{ kind: 'flatten' }, { kind: 'dropout', rate: 0.1 }],
  },
  { kind: 'reshape', shape: [4, 9] },
  { kind: 'positionalEmbedding' },
  { kind: 'layerNorm' },
  { kind: 'attention', heads: 3, causal: true },
  { kind: 'lstm', units: 8, returnSequences: true },
  { kind: 'gru', units: 8 },
  { kind: 'dense', units: 10 },
];

/** Values for `--set`, over `FASHION_CONFIG`: one epoch of some 11 steps. */
export const EVERY_LAYER_SETTINGS: readonly string[] = [
  'epochs=1',
  'data.split.train=0.05',
  'data.split.validation=0.02',
  'batchSize=50',
  'shards=5',
  `model.layers=${JSON.stringify(EVERY_LAYER)}`,
];
