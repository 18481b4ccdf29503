// Workers of a tree, with a coordinator and other workers that do whatever a test tells them to.
import { beforeAll, describe, expect, it } from 'vitest';
import { blobByteLength } from '../../src/data/dataset/packed-dataset.ts';
import { hashDataset } from '../../src/data/dataset/hash-dataset.ts';
import type { RowLayout } from '../../src/data/dataset/packed-dataset.ts';
import { ByteFingerprinter, combineFingerprints } from '../../src/engine/fingerprint.ts';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { Memory } from '../../src/memory.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { WelcomeMessage } from '../../src/protocol/message-types.ts';
import { CliProcess } from '../helpers/cli.ts';
import { FakeCoordinator } from '../helpers/fake-coordinator.ts';
import type { FakeSession } from '../helpers/fake-coordinator.ts';
import { FakeWorker, honestHello } from '../helpers/fake-worker.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

/** Outputs of a row fill a message, so that an evaluation is computed in parts. */
const NUM_CLASSES = 2 ** 20;
const LAYERS = [{ kind: 'dense', units: NUM_CLASSES, activation: 'linear', bias: false }] as const;
const LAYOUT: RowLayout = {
  numRows: 1,
  featureShape: [1],
  featureType: 'f32',
  featureScale: 1,
  targetKind: 'labels',
  targetWidth: 1,
  numClasses: NUM_CLASSES,
  hasSampleWeights: false,
};
const DATASET = new Uint8Array(blobByteLength(LAYOUT));
const WELCOME: WelcomeMessage = {
  type: 'welcome',
  run: 'a run of this test',
  worker: 1,
  nonce: '0123456789abcdef',
  layers: LAYERS,
  seed: 7,
  loss: { kind: 'crossEntropy', labelSmoothing: 0 },
  batchSize: 1,
  shards: 1,
  numerics: 'strict',
  layout: LAYOUT,
  datasetSha256: hashDataset({ layout: LAYOUT, blob: DATASET }),
  fanIn: 2,
};
const { buckets } = resolveModel({ layers: LAYERS }, LAYOUT.featureShape);
const NUM_SHARDS = 32;

let fingerprinter: ByteFingerprinter;

beforeAll(async () => {
  const memory = new Memory();
  fingerprinter = new ByteFingerprinter(
    await instantiateKernels(await loadKernelModule(), memory.wasm),
    memory,
  );
});

/** A worker that has loaded the dataset, and the address at which it takes others. */
async function startAggregator(): Promise<{
  session: FakeSession;
  coordinator: FakeCoordinator;
  url: string;
}> {
  const coordinator = await FakeCoordinator.open();
  CliProcess.start(['worker', coordinator.url, '--listen', '127.0.0.1:0'], { cwd: temporaryDirectory() });
  const session = await coordinator.session(1);
  const { listen } = (await session.next('hello')).message;
  session.send(WELCOME);
  const { offset, sha256 } = (await session.next('fetch')).message;
  session.send({ type: 'chunk', sha256, offset }, DATASET);
  await session.next('ready');
  return { session, coordinator, url: `ws://127.0.0.1:${listen?.port}` };
}

/** Sends weights that are all 0.5; returns their name. */
function sendWeights(session: FakeSession): string {
  const names = buckets.map(({ length }, bucket) => {
    const bytes = new Uint8Array(new Float32Array(length).fill(0.5).buffer);
    const fingerprint = fingerprinter.fingerprint(bytes);
    session.send({ type: 'weights', run: WELCOME.run, version: 1, bucket, fingerprint }, bytes);
    return fingerprint;
  });
  return combineFingerprints(names);
}

function sendEvaluation(session: FakeSession, round: number, numShards: number, fingerprint: string): void {
  const bounds = Array.from({ length: numShards + 1 }, (_, shard) => shard);
  const key = { run: WELCOME.run, round, task: round, version: 1, weightsFingerprint: fingerprint };
  session.send({ type: 'evaluate', ...key, numShards, firstShard: 0, bounds }, new Uint8Array(4 * numShards));
}

describe('an aggregator', () => {
  it('a worker that is loading below an aggregator is sent away when that loses its coordinator', async () => {
    const { session, url } = await startAggregator();
    const worker = await FakeWorker.greet({ url }, await honestHello());
    await worker.next('welcome');
    session.connection.terminate();
    expect((await worker.ended).code).toBe(1001);
  });

  it('an evaluation is completed by an aggregator although a worker below it dies in the middle', async () => {
    const { session, url } = await startAggregator();
    const worker = await FakeWorker.join({ url });
    await session.next('members');
    sendEvaluation(session, 1, 4, sendWeights(session));
    await worker.next('evaluate');
    worker.terminate();
    const evaluated: unknown[] = [];
    for (;;) {
      const { message } = await session.next('members', 'evaluation', 'finished');
      if (message.type === 'evaluation') evaluated.push([message.shard, message.fingerprint]);
      else if (message.type === 'finished') break;
    }
    // Each shard is the one row of the dataset, whose feature and so outputs are 0.
    const fingerprint = fingerprinter.fingerprint(new Uint8Array(4 * NUM_CLASSES));
    expect(evaluated.sort()).toEqual([0, 1, 2, 3].map((shard) => [shard, fingerprint]));
  });

  it('an aggregator gives up what is left of an evaluation when the next round begins', async () => {
    const { session, url } = await startAggregator();
    const worker = await FakeWorker.join({ url });
    await session.next('members');
    const fingerprint = sendWeights(session);
    sendEvaluation(session, 1, NUM_SHARDS, fingerprint);
    await worker.next('evaluate');
    sendEvaluation(session, 2, 1, fingerprint);
    let numEvaluated = 0;
    while ((await session.next('evaluation', 'finished')).message.type === 'evaluation') numEvaluated++;
    // Two workers have room for the outputs of two shards each.
    expect(numEvaluated).toBeLessThanOrEqual(4);
  });
});

it('a worker that is sent on again and again waits before it starts over', async () => {
  const coordinator = await FakeCoordinator.open();
  const worker = CliProcess.start(['worker', coordinator.url], { cwd: temporaryDirectory() });
  const isWaiting = worker.untilStderr(/connecting again in/);
  for (let number = 1; number <= 17; number++) {
    const session = await coordinator.session(number);
    session.send({ type: 'redirect', url: coordinator.url });
  }
  await isWaiting;
});
