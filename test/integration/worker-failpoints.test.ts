// Workers that die, fail or err at a chosen place of a chosen step: the weights stay the same bits.
import { describe, it } from 'vitest';
import { expectSurvived } from '../helpers/failpoint-run.ts';

const KILLED = /worker process \d \(pid \d+\) ended: SIGKILL; starting it again/;

describe('the same weights come out when a worker', () => {
  it.each<[string, string, RegExp]>([
    [
      'is killed when it has sent some pieces of a sum and not others',
      'worker.afterCompute@worker=1@step=7@piece=1:kill',
      KILLED,
    ],
    [
      'fails on a range',
      'worker.beforeCompute@worker=1@step=7:throw',
      /worker 1 .* failed on a range: error made by failpoint worker\.beforeCompute/,
    ],
    [
      'misses a piece of the weights, and says so',
      'worker.stale@worker=1@version=7@piece=1:skip',
      /worker 1 .* left: round \d+ wants weights version 7, which did not arrive as named/,
    ],
  ])('%s', async (_, failpoint, told) => {
    await expectSurvived(failpoint, told);
  });
});
