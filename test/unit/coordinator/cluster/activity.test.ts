import { expect, test } from 'vitest';
import { ClusterActivity } from '../../../../coordinator/cluster/activity.ts';

const member = (id: number) => ({
  id,
  number: id,
  name: `worker ${id}`,
  remoteAddress: '10.0.0.1',
  threads: 2,
  sharesMemory: false,
});

test('the counters of a worker add up its tasks, bytes and failures, until it leaves', () => {
  const activity = new ClusterActivity();
  activity.begin(1);
  activity.sent(member(1), { id: 7, from: 0, to: 4 }, 100);
  activity.sent(member(1), { id: 8, from: 4, to: 6 }, 10);
  activity.supplied(1, 1000);
  activity.received(1, 50);
  activity.finished(1, { task: 7, computeMs: 3 });
  activity.failed(1, 8);
  activity.received(2, 99);
  const counters = { tasks: 1, shards: 4, computeMs: 3, bytesReceived: 50, bytesSent: 1110, failures: 1 };
  const { id: _id, number: worker, remoteAddress: address, ...facts } = member(1);
  expect(activity.workers).toEqual([{ worker, address, ...facts, ...counters }]);
  activity.leave(1);
  expect(activity.workers).toEqual([]);
});

test('the latest step has the times of its tasks in their order, and a report that comes after its end', () => {
  const activity = new ClusterActivity();
  expect(activity.latestStep).toBeUndefined();
  activity.begin(5);
  activity.sent(member(1), { id: 1, from: 0, to: 4 }, 1);
  activity.sent(member(2), { id: 2, from: 4, to: 8 }, 1);
  activity.sumArrived(1);
  activity.sumArrived(1);
  activity.complete();
  activity.finished(1, { task: 1, computeMs: 2.5 });
  // An evaluation is no step.
  activity.begin(undefined);
  activity.sent(member(1), { id: 3, from: 0, to: 8 }, 1);
  activity.sumArrived(3);
  activity.complete();
  const { step, wallMs, tasks } = activity.latestStep!;
  expect([step, tasks.map(({ worker, from, to }) => [worker, from, to])]).toEqual([
    5,
    [
      [1, 0, 4],
      [2, 4, 8],
    ],
  ]);
  const [first, second] = tasks;
  expect(first?.computeMs).toBe(2.5);
  const times = [0, first!.sentMs, first!.firstSumMs!, first!.lastSumMs!, wallMs];
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(second).not.toHaveProperty('firstSumMs');
});

test('a step that restarts begins its timeline anew', () => {
  const activity = new ClusterActivity();
  activity.begin(5);
  activity.sent(member(1), { id: 1, from: 0, to: 4 }, 1);
  activity.begin(5);
  activity.sent(member(2), { id: 2, from: 0, to: 8 }, 1);
  activity.complete();
  expect(activity.latestStep?.tasks.map(({ worker }) => worker)).toEqual([2]);
});
