// A coordinator that is killed after any step or epoch of a run resumes to the same outcome.
import { it } from 'vitest';
import { expectSameAfterKill } from '../helpers/resumable-run.ts';

it.each(Array.from({ length: 40 }, (_, step) => step + 1))(
  'a run whose coordinator is killed after step %i of 40 resumes to the same outcome',
  (step) => expectSameAfterKill(`coordinator.afterStep@step=${step}`),
);

it.each([1, 2, 3, 4])(
  'a run whose coordinator is killed after epoch %i of 4 resumes to the same outcome',
  (epoch) => expectSameAfterKill(`coordinator.afterEpoch@epoch=${epoch}`),
);
