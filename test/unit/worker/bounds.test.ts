// Requests that a worker refuses any coordinator, however valid the messages are by themselves.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { RowLayout } from '../../../src/data/dataset/packed-dataset.ts';
import { targetsByteOffset, blobByteLength } from '../../../src/data/dataset/packed-dataset.ts';
import { partsOf } from '../../../src/engine/engine.ts';
import type { PartialSum } from '../../../src/engine/engine.ts';
import { planEngine } from '../../../src/engine/plan.ts';
import { createLogger } from '../../../src/log.ts';
import { resolveModel } from '../../../src/model/model.ts';
import type { Connection } from '../../../src/protocol/connection.ts';
import { Instance } from '../../../src/protocol/instance.ts';
import type { EvaluateMessage, TrainMessage, WelcomeMessage } from '../../../src/protocol/message-types.ts';
import { CLOSE, ProtocolError } from '../../../src/protocol/protocol-error.ts';
import { Screen } from '../../../src/screen.ts';
import { taskSizes } from '../../../src/threads/team.ts';
import { requireAgreement, requireLabels, requireTask } from '../../../worker/bounds.ts';

import { TaskResults } from '../../../worker/task-results.ts';
import type { Replica } from '../../../worker/replica.ts';
import { WorkerProgress } from '../../../worker/progress.ts';
import { runSession } from '../../../worker/session.ts';
import type { SessionEnd } from '../../../worker/session.ts';
import { WELCOME } from '../../helpers/protocol-messages.ts';

const LAYOUT: RowLayout = {
  numRows: 1000,
  featureShape: [4],
  featureType: 'f32',
  featureScale: 1,
  targetKind: 'labels',
  targetWidth: 1,
  numClasses: 3,
  hasSampleWeights: false,
};
const RUN: WelcomeMessage = {
  ...WELCOME,
  layers: [{ kind: 'dense', units: 3, activation: 'linear', bias: true }],
  loss: { kind: 'crossEntropy', labelSmoothing: 0 },
  batchSize: 32,
  shards: 4,
  layout: LAYOUT,
};
const MODEL = resolveModel({ layers: RUN.layers }, LAYOUT.featureShape);
const BOUNDS = {
  welcome: RUN,
  plan: planEngine(MODEL, RUN),
  sizes: taskSizes({ ...RUN, model: MODEL, numThreads: 1 }),
};

function task(values: Partial<TrainMessage> = {}): TrainMessage {
  const key = { run: RUN.run, round: 1, task: 1, version: 1, weightsFingerprint: '0'.repeat(16), step: 0 };
  return { type: 'train', ...key, numShards: 4, firstShard: 0, bounds: [0, 8, 16, 24, 32], ...values };
}

const refusal = (message: string): ProtocolError =>
  new ProtocolError('E_MESSAGE_FIELD', message, CLOSE.protocol);
const rows = (count: number): Uint32Array => Uint32Array.from({ length: count }, (_, row) => row);

it.each([3, 8])('a welcome with %i groups of 4 shards is refused', (groups) => {
  expect(() => requireAgreement({ ...RUN, groups }, MODEL)).toThrow(
    refusal(`welcome: ${groups} groups of 4 shards`),
  );
});

describe('a task', () => {
  it('a task that the run was planned for is accepted', () => {
    expect(() => requireTask(BOUNDS, task(), rows(32))).not.toThrow();
    const shortBatch = task({ numShards: 2, bounds: [0, 1, 2] });
    expect(() => requireTask(BOUNDS, shortBatch, rows(2))).not.toThrow();
  });

  it.each<[string, Partial<TrainMessage>, Uint32Array, string]>([
    ['of another run', { run: 'another' }, rows(32), '"train" is of another run'],
    [
      'that names a row which the dataset does not have',
      {},
      rows(32).fill(1000, 31),
      '"train" names row 1000, the dataset has 1000',
    ],
    [
      'of more rows than a batch has',
      { bounds: [0, 33] },
      rows(33),
      '"train" has 33 rows, "welcome" said batches of 32',
    ],
    ['of more shards than a batch has', { numShards: 5 }, rows(32), '"train" has 5 shards, "welcome" said 4'],
  ])('a task %s is refused', (_, values, indices, message) => {
    expect(() => requireTask(BOUNDS, task(values), indices)).toThrow(refusal(message));
  });

  it('a task whose shards have more rows than there is memory for is refused', () => {
    const plan = { ...BOUNDS.plan, maxShards: 2, maxRows: 16 };
    expect(() => requireTask({ ...BOUNDS, plan }, task(), rows(32))).not.toThrow();
    // Shards 1 and 2 lie in two subtrees, so their 9 and 9 rows are two microbatches.
    const apart = task({ firstShard: 1, bounds: [0, 9, 18] });
    expect(() => requireTask({ ...BOUNDS, plan }, apart, rows(18))).not.toThrow();
    const uneven = task({ firstShard: 2, bounds: [0, 9, 18] });
    expect(() => requireTask({ ...BOUNDS, plan }, uneven, rows(18))).toThrow(
      refusal('"train" has 18 rows in shards that were planned to have 16'),
    );
  });

  it('an evaluation may have any number of rows, but no shard larger than the memory or a message', () => {
    const { step: _step, ...key } = task();
    const require = (...bounds: number[]): void => {
      const evaluate: EvaluateMessage = { ...key, type: 'evaluate', numShards: 500, bounds };
      requireTask(BOUNDS, evaluate, new Uint32Array(bounds.at(-1)));
    };
    expect(() => require(0, 400, 2448, 4496)).not.toThrow();
    expect(() => require(0, 400, 2449)).toThrow(
      refusal('"evaluate" has a shard of 2049 rows, the most here are 2048'),
    );
    expect(() => require(0, Math.ceil((4 * 2 ** 20) / 12))).toThrow(
      refusal('"evaluate" has a shard of 349526 rows, whose outputs no message holds'),
    );
  });
});

describe('an evaluation', () => {
  it('an evaluation is computed in parts of whole shards, each within the limit of rows unless it is a single shard', () => {
    const bounds = Uint32Array.of(0, 2, 4, 6, 13, 14);
    const whole = { numShards: 9, firstShard: 3, bounds, indices: rows(14).reverse() };
    const parts = [...partsOf(whole, 5)];
    expect(parts.map(({ firstShard, bounds: cut }) => [firstShard, ...cut])).toEqual([
      [3, 0, 2, 4],
      [5, 0, 2],
      [6, 0, 7],
      [7, 0, 1],
    ]);
    expect(parts.flatMap(({ indices }) => [...indices])).toEqual([...whole.indices]);
    expect([...partsOf(whole, 14)]).toEqual([{ ...whole, position: 0 }]);
  });
});

describe('the sums of a task', () => {
  const sumOf = (bucket: number): PartialSum => ({
    node: { level: 0, index: 0 },
    bucket,
    address: 0,
    lossSum: undefined,
  });

  it('the sums of a task stay in place while the coordinator does not read, and are then sent in order', () => {
    let isKeepingUp = true;
    const sent: unknown[] = [];
    const replica = { packSum: () => ({ bytes: new Uint8Array(4), fingerprint: '0'.repeat(16) }) };
    const results = new TaskResults({
      task: task(),
      replica: replica as unknown as Replica,
      worker: 1,
      store: () => undefined,
      send: (message) => sent.push(message.type === 'gradient' ? message.bucket : message.type),
      flush: () => undefined,
      isKeepingUp: () => isKeepingUp,
    });
    results.onSum(sumOf(0));
    isKeepingUp = false;
    results.onSum(sumOf(1));
    results.onSum(sumOf(2));
    expect([results.sendSums(), sent]).toEqual([false, [0]]);
    isKeepingUp = true;
    expect(results.sendSums()).toBe(true);
    results.finish(1);
    expect(sent).toEqual([0, 1, 2, 'finished']);
  });

  it.each([
    [
      'by the socket set out at once, but for the last, which goes with the end',
      undefined,
      '0 flush 1 finished flush',
    ],
    ['in shared memory are announced together with the end', { offset: 64, length: 4 }, '0 1 finished flush'],
  ])('sums that travel %s', (_how, extent, expected) => {
    const calls: unknown[] = [];
    const replica = { packSum: () => ({ bytes: new Uint8Array(4), fingerprint: '0'.repeat(16) }) };
    const results = new TaskResults({
      task: task(),
      replica: replica as unknown as Replica,
      worker: 1,
      store: () => extent,
      send: (message) => calls.push(message.type === 'gradient' ? message.bucket : message.type),
      flush: () => calls.push('flush'),
      isKeepingUp: () => true,
    });
    results.onSum(sumOf(0));
    results.onSum({ ...sumOf(1), lossSum: 0.5 });
    results.finish(1);
    expect(calls.join(' ')).toBe(expected);
  });
});

describe('a welcome', () => {
  it('a welcome whose model, loss and targets go together is accepted', () => {
    expect(() => requireAgreement(RUN, MODEL)).not.toThrow();
  });

  it.each<[string, Partial<WelcomeMessage>, string]>([
    [
      'a loss of numbers for labels',
      { loss: { kind: 'mse' } },
      'welcome: mse does not go with targets that are labels',
    ],
    [
      'classes for numbers',
      { layout: { ...LAYOUT, targetKind: 'values', numClasses: 0 } },
      'welcome: crossEntropy does not go with targets that are values',
    ],
    [
      'more classes than the model has outputs',
      { layout: { ...LAYOUT, numClasses: 4 } },
      'welcome: the model gives 3, the targets want 4',
    ],
    [
      'more targets than the model has outputs',
      { loss: { kind: 'mse' }, layout: { ...LAYOUT, targetKind: 'values', targetWidth: 4, numClasses: 0 } },
      'welcome: the model gives 3, the targets want 4',
    ],
  ])('a welcome with %s is refused', (_, values, message) => {
    expect(() => requireAgreement({ ...RUN, ...values }, MODEL)).toThrow(refusal(message));
  });
});

describe('a dataset', () => {
  const blobWith = (label: number): Uint8Array => {
    const blob = new Uint8Array(blobByteLength(LAYOUT));
    new Uint32Array(blob.buffer, targetsByteOffset(LAYOUT), LAYOUT.numRows)[7] = label;
    return blob;
  };

  it('a dataset whose labels are all valid classes is accepted', () => {
    expect(() => requireLabels(LAYOUT, blobWith(2))).not.toThrow();
  });

  it.each([3, 0xffffffff])('a dataset with label %i of three classes is refused', (label) => {
    const message = `the dataset has label ${label} in row 7, and 3 classes`;
    expect(() => requireLabels(LAYOUT, blobWith(label))).toThrow(refusal(message));
  });
});

describe('a coordinator', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('a coordinator that does not answer "hello" for 30 s is left, and counts as lost', async () => {
    const calls: (string | undefined)[] = [];
    let end: SessionEnd | undefined;
    let closed: (code: number, reason: string) => void = () => undefined;
    const connection: Connection = {
      id: 0,
      remoteAddress: '10.0.0.1',
      bufferedBytes: 0,
      bytesRead: 0,
      send: () => undefined,
      flush: () => undefined,
      dropQueued: () => undefined,
      close: () => undefined,
      terminate: (reason = '') => {
        calls.push(reason);
        closed(1006, reason);
      },
      onMessage: () => undefined,
      onClose: (listener) => (closed = listener),
    };
    const identity = { sha256: '0'.repeat(64), knownAnswer: '0'.repeat(64) };
    const kernelBuilds = { modules: new Map(), identities: { strict: identity } };
    const log = createLogger({ level: 'silent' });
    const options = {
      connection,
      kernelBuilds,
      numThreads: 1,
      replica: undefined,
      takesFiles: true,
      instance: new Instance(),
      facts: { runtime: 'Node.js v20.0.0', platform: 'test-x64', host: 'fake', pid: 1 },
      log,
      progress: new WorkerProgress(new Screen(), log),
    };
    void runSession(options, new AbortController().signal).then((ended) => (end = ended));
    await vi.advanceTimersByTimeAsync(29_999);
    expect(calls).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    const reason = 'the coordinator has not answered "hello" for 30 s';
    expect(calls).toEqual([reason]);
    expect(end).toEqual({ kind: 'lost', reason, replica: undefined, tasksDone: 0 });
  });
});
