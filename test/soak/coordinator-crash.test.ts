// A coordinator that is killed after any step of a run resumes to the same outcome.
import { it } from 'vitest';
import { expectSameAfterKill } from '../helpers/resumable-run.ts';

it.each(Array.from({ length: 40 }, (_, step) => step + 1))(
  'a run whose coordinator is killed after step %i of 40 resumes to the same outcome',
  (step) => expectSameAfterKill(`coordinator.afterStep@step=${step}`),
);
