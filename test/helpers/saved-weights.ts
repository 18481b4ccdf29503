// Other weights for a saved model: those that are drawn before training leave norms without an effect.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { DESCRIPTION_FILE, WEIGHTS_FILE } from '../../src/predict/model-files.ts';
import { readModel } from '../../src/predict/load-model.ts';
import { encodeSafetensors } from '../../src/safetensors.ts';
import { seededRandom } from './seeded-random.ts';

/** Moves every weight of the model in a run's directory, as training would; variances stay above 0. */
export async function moveWeights(directory: string): Promise<void> {
  const { description, directory: place, model, weights } = await readModel(directory);
  const random = seededRandom(5);
  const moved = weights.map((weight) => weight + 0.4 * (random() - 0.5));
  const tensors = model.tensors.map(({ name, shape, offset, length }) => ({
    name,
    shape,
    values: moved.subarray(offset, offset + length),
  }));
  const weightsSha256 = createHash('sha256').update(new Uint8Array(moved.buffer)).digest('hex');
  fs.writeFileSync(path.join(place, WEIGHTS_FILE), encodeSafetensors(tensors));
  fs.writeFileSync(path.join(place, DESCRIPTION_FILE), JSON.stringify({ ...description, weightsSha256 }));
}
