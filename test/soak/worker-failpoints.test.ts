// A worker that is killed at any of its first messages, or where sums travel in groups of any number: the
// weights stay the same bits.
import { it } from 'vitest';
import { FAILPOINT_RUN, KILLED, expectSurvived } from '../helpers/failpoint-run.ts';

it.each(Array.from({ length: 34 }, (_, message) => message + 1))(
  'a worker that is killed before its message number %i does not change the weights',
  (message) => expectSurvived(`worker.afterCompute@worker=1#${message}:kill`, KILLED),
);

it.each([1, 2, 8])(
  'a worker that is killed in the middle of a step does not change weights of sums in bfloat16, of %i groups',
  (groups) => {
    const values = { ...FAILPOINT_RUN, wire: { gradients: 'bf16' as const, groups } };
    return expectSurvived('worker.afterCompute@worker=1@step=7@bucket=1:kill', KILLED, values);
  },
);
