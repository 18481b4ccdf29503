// The body of a worker thread that computes with the others of its process: it blocks while it waits
// for tasks, and writes to its port only what somebody waits for.
import { parentPort, workerData } from 'node:worker_threads';
import type { PartialSum } from '../engine/engine.ts';
import { flushTrace, nameInTrace } from '../trace-file.ts';
import { ComputeThread } from './compute-thread.ts';
import type { TeamSetup } from './compute-thread.ts';
import type { ThreadTask } from './shared-task.ts';

/** The start data of a worker thread. */
export interface ThreadStart {
  readonly setup: TeamSetup;
  readonly thread: number;
}

export type ThreadMessage =
  { readonly type: 'started' } | ThreadResult | { readonly type: 'failed'; readonly message: string };

export type ThreadResult =
  /** A bucket of a sum, from a thread that computes alone. */
  | { readonly type: 'sum'; readonly sum: PartialSum }
  /** The last bucket comes with the end: waking the other thread costs as much as sending a small message. */
  | { readonly type: 'done'; readonly computeMs: number; readonly lastSum: PartialSum | undefined };

if (!parentPort) throw new Error('this file is the body of a worker thread');
const port = parentPort;
const { setup, thread } = workerData as ThreadStart;
const post = (message: ThreadMessage): void => port.postMessage(message);

const computeThread = await ComputeThread.create(setup, thread);
/** The first thread reports for all of them; where it is the one that gives tasks, it is not started here. */
const isReporter = thread === 0;
const isAlone = setup.sizes.numThreads === 1;
nameInTrace('thread', `compute thread ${thread}`);
post({ type: 'started' });
for (;;) runTask(computeThread.shared.awaitTask(thread));

function runTask(task: ThreadTask): void {
  const startedMs = performance.now();
  let lastSum: PartialSum | undefined;
  const report = (sum: PartialSum): void => {
    if (lastSum) post({ type: 'sum', sum: lastSum });
    lastSum = sum;
  };
  try {
    computeThread.run(task, isAlone ? report : undefined);
    flushTrace();
    if (isReporter) post({ type: 'done', computeMs: performance.now() - startedMs, lastSum });
  } catch (error) {
    post({ type: 'failed', message: error instanceof Error ? error.message : String(error) });
  }
}
