// The task that threads share in memory: what one thread writes, the others read; and how they meet.
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { Memory } from '../../../../src/memory.ts';
import { SharedTask } from '../../../../src/threads/shared-task.ts';
import type { ThreadTask } from '../../../../src/threads/shared-task.ts';

const SIZES = {
  numThreads: 2,
  maxRows: 8,
  maxEvaluatedRows: 8,
  maxShards: 4,
  numBlocks: 3,
  evaluationWidth: 2,
};

function shared(
  memory = new Memory(),
  numThreads = 2,
): { address: number; first: SharedTask; second: SharedTask } {
  const sizes = { ...SIZES, numThreads };
  const address = memory.allocate(SharedTask.byteLength(sizes), 'tasks of threads');
  const [first, second] = [1, 2].map(() => new SharedTask(memory, address, sizes)) as [
    SharedTask,
    SharedTask,
  ];
  return { address, first, second };
}

const TASK: ThreadTask = {
  kind: 'train',
  numThreads: 2,
  step: 7,
  flatToPack: 64,
  rows: {
    numShards: 4,
    firstShard: 1,
    bounds: Uint32Array.of(0, 2, 3),
    indices: Uint32Array.of(5, 1, 9),
  },
  update: { parameters: 128, learningRate: 1e-3, divisor: 2.5, numSamples: 3 },
};

it('a task reads as it was given, whatever the task before it was', () => {
  const { first, second } = shared();
  first.give(TASK);
  expect(second.awaitTask(1)).toEqual(TASK);
  const evaluation = {
    kind: 'evaluate',
    numThreads: 2,
    step: 0,
    flatToPack: 0,
    rows: { numShards: 1, firstShard: 0, bounds: Uint32Array.of(0, 1), indices: Uint32Array.of(3) },
    update: undefined,
  } as const;
  first.give(evaluation);
  expect(second.awaitTask(1)).toEqual(evaluation);
});

it('a thread that a task leaves out waits for the next task that needs it', () => {
  const { first, second } = shared();
  first.give({ ...TASK, numThreads: 1, step: 8 });
  first.give({ ...TASK, step: 9 });
  expect(second.awaitTask(1)).toEqual({ ...TASK, step: 9 });
  expect(second.numThreads).toBe(2);
});

it('one thread meets nobody where a task is its alone', () => {
  const { first } = shared();
  first.give({ ...TASK, numThreads: 1 });
  first.meet();
  expect(first.numThreads).toBe(1);
});

it('a task with more rows than the memory holds is refused', () => {
  const { first } = shared();
  const rows = { ...TASK.rows, indices: new Uint32Array(9), bounds: Uint32Array.of(0, 9) };
  expect(() => first.give({ ...TASK, rows })).toThrow(RangeError);
});

it('the sums of all threads are read in the order of their shards', () => {
  const { first, second } = shared();
  const [left, right] = [
    { node: { level: 1, index: 0 }, address: 64, lossSum: 0.5 },
    { node: { level: 1, index: 1 }, address: 128, lossSum: -2 },
  ];
  second.setSums(1, [right]);
  first.setSums(0, [left]);
  expect(first.sums()).toEqual([left, right]);
  first.setSums(0, []);
  expect(second.sums()).toEqual([right]);
});

it('items of work are counted from 0 again after a meeting', () => {
  const { first } = shared(new Memory(), 1);
  expect([first.next(), first.next()]).toEqual([0, 1]);
  first.meet();
  expect(first.next()).toBe(0);
});

it('a thread that fails ends the meetings of the others with an error that names it', () => {
  const { first, second } = shared();
  second.fail(1);
  expect(() => first.meet()).toThrow('compute thread 1 failed');
});

it('a thread that is woken without reason waits on, for a task as at a meeting', async () => {
  const memory = new Memory();
  const { address, first } = shared(memory);
  // The words of tasks and meetings, as shared-task.ts lays them out.
  const [tasks, meetings] = [0, 128].map((at) => new Int32Array(memory.wasm.buffer, address + at, 1)) as [
    Int32Array,
    Int32Array,
  ];
  const progress = new Int32Array(new SharedArrayBuffer(4));
  const code = `
    const { workerData: { module, wasm, address, sizes, progress } } = require('node:worker_threads');
    import(module).then(({ SharedTask }) => {
      const second = new SharedTask({ wasm }, address, sizes);
      second.awaitTask(1);
      Atomics.add(progress, 0, 1);
      second.meet();
      Atomics.add(progress, 0, 1);
    });
  `;
  const module = new URL('../../../../dist/src/threads/shared-task.js', import.meta.url).href;
  const workerData = { module, wasm: memory.wasm, address, sizes: SIZES, progress };
  const worker = new Worker(code, { eval: true, workerData });
  const wakeWithoutReason = async (word: Int32Array): Promise<void> => {
    while (Atomics.notify(word, 0) === 0) await sleep(1);
    await sleep(20);
  };
  await wakeWithoutReason(tasks);
  expect(Atomics.load(progress, 0)).toBe(0);
  first.give(TASK);
  await wakeWithoutReason(meetings);
  expect(Atomics.load(progress, 0)).toBe(1);
  first.meet();
  while (Atomics.load(progress, 0) < 2) await sleep(1);
  await worker.terminate();
});

it('a thread waits at a meeting until the other thread has come', async () => {
  const memory = new Memory();
  const { address, first } = shared(memory);
  const slept = new Int32Array(new SharedArrayBuffer(4));
  const code = `
    const { workerData: { module, wasm, address, sizes, slept } } = require('node:worker_threads');
    import(module).then(({ SharedTask }) => {
      const second = new SharedTask({ wasm }, address, sizes);
      Atomics.wait(slept, 0, 0, 50);
      Atomics.store(slept, 0, 1);
      second.meet();
    });
  `;
  const module = new URL('../../../../dist/src/threads/shared-task.js', import.meta.url).href;
  const workerData = { module, wasm: memory.wasm, address, sizes: SIZES, slept };
  const worker = new Worker(code, { eval: true, workerData });
  first.meet();
  expect(Atomics.load(slept, 0)).toBe(1);
  await worker.terminate();
});
