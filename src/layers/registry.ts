// Every kind of layer: the one place that knows them all.
import { z } from 'zod';
import { MAX_LAYERS } from '../limits.ts';
import { ActivationLayer, activationSchema } from './activation.ts';
import { AugmentLayer, augmentSchema } from './augment.ts';
import { AttentionLayer, attentionSchema } from './attention.ts';
import { BatchNormLayer, batchNormSchema } from './batch-norm.ts';
import { ColumnEmbeddingsLayer, columnEmbeddingsSchema } from './column-embeddings.ts';
import { Conv2dLayer, conv2dSchema } from './conv2d/conv2d.ts';
import { DenseLayer, denseSchema } from './dense.ts';
import { DropoutLayer, dropoutSchema } from './dropout.ts';
import { EmbeddingLayer, embeddingSchema } from './embedding.ts';
import { GlobalAvgPool2dLayer, globalAvgPool2dSchema } from './global-avg-pool-2d.ts';
import { LayerNormLayer, layerNormSchema } from './layer-norm.ts';
import type { Layer, LayerBuilder } from './layer.ts';
import type { Shape } from '../shape.ts';
import { Pool2dLayer, avgPool2dSchema, maxPool2dSchema } from './pool-2d.ts';
import { PositionalEmbeddingLayer, positionalEmbeddingSchema } from './positional-embedding.ts';
import { GRU, LSTM } from './recurrent/cells.ts';
import { RecurrentLayer, gruSchema, lstmSchema } from './recurrent/recurrent.ts';
import { ReshapeLayer, flattenSchema, reshapeSchema } from './reshape.ts';
import { ResidualLayer } from './residual.ts';

const residualSchema = z.strictObject({
  kind: z.literal('residual'),
  get layers() {
    return z.array(layerSchema).min(1).max(MAX_LAYERS).describe('What is added to the input');
  },
  get shortcut() {
    return z
      .array(layerSchema)
      .min(1)
      .max(MAX_LAYERS)
      .optional()
      .describe('Layers that the input goes through before it is added; default: none');
  },
});

/** A layer in a config's list. */
export const layerSchema = z.discriminatedUnion('kind', [
  denseSchema,
  activationSchema,
  layerNormSchema,
  batchNormSchema,
  dropoutSchema,
  augmentSchema,
  embeddingSchema,
  positionalEmbeddingSchema,
  attentionSchema,
  residualSchema,
  conv2dSchema,
  maxPool2dSchema,
  avgPool2dSchema,
  globalAvgPool2dSchema,
  flattenSchema,
  reshapeSchema,
  lstmSchema,
  gruSchema,
]);

/** A layer of a model: one of a config, or the one that columns of a table put before them. */
export const modelLayerSchema = z.discriminatedUnion('kind', [
  ...layerSchema.options,
  columnEmbeddingsSchema,
]);

// `Extract` gives the unions the names by which editors and docs/reference show them.
/** A layer of a config with all its fields. */
export type ConfigLayerSpec = Extract<z.output<typeof layerSchema>, object>;
/** A layer of a model with all its fields. */
export type LayerSpec = Extract<z.output<typeof modelLayerSchema>, object>;
/** A layer as users write it: defaults may be left out. docs/config.md has the fields of each kind. */
export type LayerInput = Extract<z.input<typeof layerSchema>, object>;

/** True where a layer, or one inside it, takes statistics of the samples of a shard. */
export function hasStatistics(layers: readonly LayerSpec[]): boolean {
  return layers.some((layer) => {
    if (layer.kind !== 'residual') return layer.kind === 'batchNorm';
    return hasStatistics(layer.layers) || hasStatistics(layer.shortcut ?? []);
  });
}

/**
 * Resolves sizes and parameters of one layer.
 * @throws LockstepError (exit 2) where the layer does not fit its input.
 */
export function createLayer(spec: LayerSpec, inputShape: Shape, builder: LayerBuilder): Layer {
  switch (spec.kind) {
    case 'dense':
      return new DenseLayer(spec, inputShape, builder);
    case 'activation':
      return new ActivationLayer(spec, inputShape);
    case 'layerNorm':
      return new LayerNormLayer(spec, inputShape, builder);
    case 'batchNorm':
      return new BatchNormLayer(spec, inputShape, builder);
    case 'dropout':
      return new DropoutLayer(spec, inputShape, builder);
    case 'augment':
      return new AugmentLayer(spec, inputShape, builder);
    case 'embedding':
      return new EmbeddingLayer(spec, inputShape, builder);
    case 'positionalEmbedding':
      return new PositionalEmbeddingLayer(inputShape, builder);
    case 'attention':
      return new AttentionLayer(spec, inputShape, builder);
    case 'columnEmbeddings':
      return new ColumnEmbeddingsLayer(spec, inputShape, builder);
    case 'residual':
      return new ResidualLayer(spec, inputShape, builder);
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
    case 'lstm':
      return new RecurrentLayer(LSTM, spec, inputShape, builder);
    case 'gru':
      return new RecurrentLayer(GRU, spec, inputShape, builder);
    default:
      return spec satisfies never;
  }
}
