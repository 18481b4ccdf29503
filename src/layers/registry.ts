// Every kind of layer: the one place that knows them all.
import { z } from 'zod';
import { Conv2dLayer, conv2dSchema } from './conv2d.ts';
import { DenseLayer, denseSchema } from './dense.ts';
import { GlobalAvgPool2dLayer, globalAvgPool2dSchema } from './global-avg-pool-2d.ts';
import type { Layer, LayerBuilder, Shape } from './layer.ts';
import { Pool2dLayer, avgPool2dSchema, maxPool2dSchema } from './pool-2d.ts';
import { ReshapeLayer, flattenSchema, reshapeSchema } from './reshape.ts';

/** What a config's list of layers may hold. */
export const layerSchema = z.discriminatedUnion('kind', [
  denseSchema,
  conv2dSchema,
  maxPool2dSchema,
  avgPool2dSchema,
  globalAvgPool2dSchema,
  flattenSchema,
  reshapeSchema,
]);

/** A checked layer of a config. */
export type LayerSpec = z.output<typeof layerSchema>;
/** A layer as users write it: defaults may be left out. */
export type LayerInput = z.input<typeof layerSchema>;

/** Resolves sizes and parameters of one layer. @throws LockstepError (exit 2) where the layer does not fit its input. */
export function createLayer(spec: LayerSpec, inputShape: Shape, builder: LayerBuilder): Layer {
  switch (spec.kind) {
    case 'dense':
      return new DenseLayer(spec, inputShape, builder);
    case 'conv2d':
      return new Conv2dLayer(spec, inputShape, builder);
    case 'maxPool2d':
    case 'avgPool2d':
      return new Pool2dLayer(spec, inputShape, builder);
    case 'globalAvgPool2d':
      return new GlobalAvgPool2dLayer(inputShape, builder);
    case 'flatten':
      return ReshapeLayer.flatten(inputShape);
    case 'reshape':
      return ReshapeLayer.to(spec.shape, inputShape, builder);
    default:
      return spec satisfies never;
  }
}
