// A coordinator that is killed after steps and epochs of a run resumes to the same outcome; the soak kills it
// after every step.
import { describe, it } from 'vitest';
import { expectSameAfterKill } from '../helpers/resumable-run.ts';

/** The first steps, all of the second epoch with its borders, and the last one. */
const STEPS = [1, 2, 3, ...Array.from({ length: 12 }, (_, step) => step + 10), 40];
const PLACES = [
  ...STEPS.map((step) => `coordinator.afterStep@step=${step}`),
  ...[1, 2, 3, 4].map((epoch) => `coordinator.afterEpoch@epoch=${epoch}`),
];

describe('a run whose coordinator is killed', () => {
  it.each(PLACES)('a run whose coordinator is killed at %s resumes to the same outcome', (place) =>
    expectSameAfterKill(place),
  );
});
