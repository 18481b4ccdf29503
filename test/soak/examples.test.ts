// The examples that take longest, to the end of their last epoch.
import fs from 'node:fs';
import { expect, test } from 'vitest';
import { EXAMPLE_DEADLINE_MS, FASHION_IMAGES, trainExample } from '../helpers/example-run.ts';

test.each(['text.yaml', 'text-lstm.yaml'])(
  'examples/text/%s reaches less than 2.0 nats per byte on text that it never saw',
  async (name) => {
    expect((await trainExample(`text/${name}`, 2)).test?.loss).toBeLessThan(2);
  },
  EXAMPLE_DEADLINE_MS,
);

test.skipIf(!fs.existsSync(FASHION_IMAGES))(
  'examples/fashion/cnn.yaml reaches a test accuracy of 0.9 (needs the Debian package dataset-fashion-mnist)',
  async () => {
    const { test: tested } = await trainExample('fashion/cnn.yaml', 5, ['--workers', '2']);
    expect((tested as { accuracy: number }).accuracy).toBeGreaterThanOrEqual(0.9);
  },
  EXAMPLE_DEADLINE_MS,
);
