// The benchmark's peers train the same models as Lockstep.
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { WORKLOADS } from '../../../bench/workloads.ts';
import { median } from '../../../coordinator/training/measure-threads.ts';
import { ROOT } from '../../helpers/cli.ts';

const peers = JSON.parse(fs.readFileSync(path.join(ROOT, 'bench/peers/workloads.json'), 'utf8')) as Record<
  string,
  unknown
>;

it.each(Object.entries(WORKLOADS))(
  'the benchmark gives its peers %s as Lockstep trains it',
  (name, workload) => {
    const { inputShape, layers, loss, batchSize } = workload;
    expect(peers[name]).toEqual({ inputShape, layers, loss, batchSize });
  },
);

it('the median of an even number of figures is one of them', () => {
  expect(median([4, 1, 3, 2])).toBe(3);
  expect(median([2, 9, 1])).toBe(2);
  expect(() => median([])).toThrow('the median of an empty list');
});
