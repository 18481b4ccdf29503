// Sequences of tokens with a label each, of several lengths, in a temporary directory: for tests of whole runs.
import fs from 'node:fs';
import path from 'node:path';
import { stringify } from 'yaml';
import type { ConfigInput } from '../../src/config/schema.ts';
import { encodeNpz } from '../../src/data/array/npy-file.ts';
import { temporaryDirectory } from './temporary-directory.ts';

export const NUM_SAMPLES = 320;
export const POSITIONS = 12;
export const IGNORED = -100;
/** Token 0 is padding. */
const VOCABULARY = 15;
const MIN_LENGTH = 5;

const TAGS_CONFIG = {
  name: 'tags',
  data: {
    train: { npz: 'tags.npz', features: 'x', targets: 'y' },
    standardize: false,
    ignoreIndex: IGNORED,
    split: { validation: 0.2, test: 0.2 },
  },
  model: {
    layers: [
      { kind: 'embedding', vocabulary: VOCABULARY, units: 16 },
      { kind: 'lstm', units: 16, returnSequences: true },
      { kind: 'residual', layers: [{ kind: 'layerNorm' }, { kind: 'attention', heads: 2 }] },
      { kind: 'dense', units: 4 },
    ],
  },
  loss: 'crossEntropy',
  optimizer: { learningRate: 0.01 },
  batchSize: 16,
  shards: 4,
  epochs: 2,
} satisfies ConfigInput;

/** Tokens and labels, [samples, positions]: a label follows from a token and the one after it. */
export function taggedSamples(): { readonly tokens: Float64Array; readonly labels: Float64Array } {
  const tokens = new Float64Array(NUM_SAMPLES * POSITIONS);
  const labels = new Float64Array(NUM_SAMPLES * POSITIONS).fill(IGNORED);
  for (let sample = 0; sample < NUM_SAMPLES; sample++) {
    const length = MIN_LENGTH + (sample % (POSITIONS - MIN_LENGTH + 1));
    const tokenAt = (position: number): number =>
      position < length ? 1 + ((((sample + 3) * (position + 5) * 7919) % 1009) % (VOCABULARY - 1)) : 0;
    for (let position = 0; position < length; position++) {
      tokens[sample * POSITIONS + position] = tokenAt(position);
      labels[sample * POSITIONS + position] =
        Number(tokenAt(position) % 3 === 0) + 2 * (tokenAt(position + 1) % 2);
    }
  }
  return { tokens, labels };
}

/** A directory with `tags.npz` and `tags.yaml`. */
export function taggedRun(): string {
  const directory = temporaryDirectory();
  const { tokens, labels } = taggedSamples();
  const shape = [NUM_SAMPLES, POSITIONS];
  const archive = encodeNpz({ x: { values: tokens, shape }, y: { values: labels, shape } });
  fs.writeFileSync(path.join(directory, 'tags.npz'), archive);
  fs.writeFileSync(path.join(directory, 'tags.yaml'), stringify(TAGS_CONFIG));
  return directory;
}
