// Data for models that begin with an embedding: features that are no token ids are
// refused before anything runs.
import { describe, expect, it } from 'vitest';
import { requireTokens } from '../../../../coordinator/training/data-requirements.ts';
import { resolveModel } from '../../../../src/model/model.ts';
import type { Model } from '../../../../src/model/model.ts';
import type { PackedDataset } from '../../../../src/data/dataset/packed-dataset.ts';
import { packSamples } from '../../../helpers/twins/samples.ts';

const model: Model = resolveModel({ layers: [{ kind: 'embedding', vocabulary: 5, units: 2 }] }, [3]);

function datasetOf(features: readonly number[]): PackedDataset {
  const targets = new Float32Array(features.length / 3);
  return packSamples({ featureWidth: 3, features: Float32Array.from(features), targets, numClasses: 0 });
}

function bytesOf(features: readonly number[], featureScale: number): PackedDataset {
  const { layout, sha256 } = datasetOf(features);
  return { layout: { ...layout, featureType: 'u8', featureScale }, blob: Uint8Array.from(features), sha256 };
}

describe('the features of an embedding', () => {
  it('an embedding takes whole numbers below its vocabulary', () => {
    expect(() => requireTokens(datasetOf([0, 1, 2, 3, 4, 0]), model)).not.toThrow();
    expect(() => requireTokens(bytesOf([0, 1, 2, 3, 4, 0], 1), model)).not.toThrow();
  });

  it.each([
    [datasetOf([0, 1, 2, 3, 5, 0]), 'sample 1, position 1: 5'],
    [datasetOf([0, 1, -1]), 'sample 0, position 2: -1'],
    [datasetOf([0.5, 1, 1]), 'sample 0, position 0: 0.5'],
    [datasetOf([0, Number.NaN, 1]), 'sample 0, position 1: NaN'],
    [bytesOf([0, 1, 200], 1), 'sample 0, position 2: 200'],
    [bytesOf([0, 1, 2], 0.25), 'sample 0, position 1: 0.25'],
  ])('an embedding refuses other features and says where they are', (dataset, start) => {
    expect(() => requireTokens(dataset, model)).toThrow(
      `${start} is not a token id of a vocabulary of 5: ids are whole numbers from 0 to 4`,
    );
  });

  it('a model without an embedding takes features that are no token ids', () => {
    const dense = resolveModel(
      { layers: [{ kind: 'dense', units: 1, activation: 'linear', bias: true }] },
      [3],
    );
    expect(() => requireTokens(datasetOf([0.5, -1, 100]), dense)).not.toThrow();
  });
});
