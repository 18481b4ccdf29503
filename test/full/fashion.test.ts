// All of Fashion-MNIST. A minute of work, so it has a tier of its own; the soak trains for longer.
import fs from 'node:fs';
import { expect, test } from 'vitest';
import { EXAMPLE_DEADLINE_MS, FASHION_IMAGES, trainExample } from '../helpers/example-run.ts';

test.skipIf(!fs.existsSync(FASHION_IMAGES)).each([
  { model: 'MLP 784-256-128-10', config: 'fashion-full.yaml', flags: [], epochs: 10, accuracy: 0.88 },
  {
    model: 'CNN with two convolutions',
    config: 'cnn.yaml',
    flags: ['--workers', '2'],
    epochs: 2,
    accuracy: 0.89,
  },
])(
  'the $model reaches a test accuracy of $accuracy in $epochs epochs (needs the Debian package dataset-fashion-mnist)',
  async ({ config, flags, epochs, accuracy }) => {
    const { test: tested, samplesSeen } = await trainExample(`fashion/${config}`, epochs, flags);
    expect(samplesSeen).toBe(epochs * 54_000);
    expect((tested as { accuracy: number }).accuracy).toBeGreaterThanOrEqual(accuracy);
  },
  EXAMPLE_DEADLINE_MS,
);
