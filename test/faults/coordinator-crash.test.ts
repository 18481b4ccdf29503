// A coordinator that is killed after steps and epochs of a run resumes to the same outcome; the soak kills it
// after every one.
import { describe, it } from 'vitest';
import { expectSameAfterKill } from '../helpers/resumable-run.ts';

/** Before and at the first checkpoint, around the end of an epoch, at a later checkpoint, and the last one. */
const STEPS = [1, 3, 10, 11, 12, 40];
const PLACES = [
  ...STEPS.map((step) => `coordinator.afterStep@step=${step}`),
  ...[1, 4].map((epoch) => `coordinator.afterEpoch@epoch=${epoch}`),
];

describe('a run whose coordinator is killed', () => {
  it.each(PLACES)('a run whose coordinator is killed at %s resumes to the same outcome', (place) =>
    expectSameAfterKill(place),
  );
});
