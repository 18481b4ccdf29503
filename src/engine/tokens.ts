// Checks that an embedding has a row for each token id of the data: better at the start, with a place, than in a worker at
// some later step.
import { featureView } from '../data/dataset/packed-dataset.ts';
import type { PackedDataset } from '../data/dataset/packed-dataset.ts';
import { EmbeddingLayer, wrongToken } from '../layers/embedding.ts';
import { sizeOf } from '../shape.ts';
import type { Model } from '../model/model.ts';

/** @throws LockstepError (exit 3) where the model begins with an embedding and a feature is no id of its vocabulary. */
export function requireTokens(dataset: PackedDataset, model: Model): void {
  const [first] = model.stack.layers;
  if (!(first instanceof EmbeddingLayer)) return;
  const { vocabulary } = first.spec;
  const { featureShape, featureType, featureScale } = dataset.layout;
  const scale = featureType === 'u8' ? featureScale : 1;
  const features = featureView(dataset);
  for (let at = 0; at < features.length; at++) {
    const value = (features[at] as number) * scale;
    if (isToken(value, vocabulary)) continue;
    const width = sizeOf(featureShape);
    const place = `sample ${Math.floor(at / width)}, position ${at % width}`;
    throw wrongToken(value, vocabulary, place);
  }
}

function isToken(value: number, vocabulary: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < vocabulary;
}
