// The text examples, for one epoch of the two that a user would train. Minutes of work, so they have a tier
// of their own; the soak trains for both.
import { expect, test } from 'vitest';
import { EXAMPLE_DEADLINE_MS, trainExample } from '../helpers/example-run.ts';

test.each([
  ['the causal transformer', 'text.yaml'],
  ['the LSTM', 'text-lstm.yaml'],
])(
  '%s reaches less than 2.1 nats per byte on text that it never saw in one epoch',
  async (_, name) => {
    const { test: tested, samplesSeen } = await trainExample(`text/${name}`, 1);
    expect(samplesSeen).toBe(15_686);
    expect(tested?.loss).toBeLessThan(2.1);
  },
  EXAMPLE_DEADLINE_MS,
);
