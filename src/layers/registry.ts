// Every kind of layer: the one place that knows them all.
import { z } from 'zod';
import { DenseLayer, denseSchema } from './dense.ts';
import type { Layer, LayerBuilder, Shape } from './layer.ts';

/** What a config's list of layers may hold. */
export const layerSchema = z.discriminatedUnion('kind', [denseSchema]);

/** A checked layer of a config. */
export type LayerSpec = z.output<typeof layerSchema>;
/** A layer as users write it: defaults may be left out. */
export type LayerInput = z.input<typeof layerSchema>;

/** Resolves sizes and parameters of one layer. @throws LockstepError (exit 2) where the layer does not fit its input. */
export function createLayer(spec: LayerSpec, inputShape: Shape, builder: LayerBuilder): Layer {
  switch (spec.kind) {
    case 'dense':
      return new DenseLayer(spec, inputShape, builder);
    default:
      return spec.kind satisfies never;
  }
}
