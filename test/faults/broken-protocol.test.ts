// Workers that send late, duplicate, damaged or made-up messages: the weights stay the same bits, and a
// worker that breaks the protocol is disconnected.
import { describe, expect, it } from 'vitest';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import type { TrainMessage } from '../../src/protocol/message-types.ts';
import { FakeWorker } from '../helpers/fake-worker.ts';
import { madeUp, BUCKET_LENGTH } from '../helpers/made-up.ts';
import { startCoordinator, startWorker, TOKEN } from '../helpers/network-run.ts';
import { startRelay } from '../helpers/relay.ts';
import { readRosterEvents, untilEpoch } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

/** Invalid replies to a worker's first task, and the reason for which each gets the worker disconnected. */
const LIES: Readonly<
  Record<string, { readonly answer: (work: TrainMessage) => Buffer; readonly reason: RegExp }>
> = {
  'a gradient whose bytes changed on the way': {
    answer: (work) => {
      const { message, body } = madeUp(work);
      body[1000] = 1;
      return encodeMessage(message, body);
    },
    reason: /sent a damaged bucket 0/,
  },
  'a gradient that is too short': {
    answer: (work) => encoded(madeUp(work, {}, BUCKET_LENGTH - 1)),
    reason: /sent 2560 bytes for bucket 0/,
  },
  'a gradient without its loss': {
    answer: (work) => encoded(madeUp(work, { lossSum: undefined })),
    reason: /sent 2564 bytes for bucket 0/,
  },
  'a bucket that the model does not have': {
    answer: (work) => encoded(madeUp(work, { bucket: 5 })),
    reason: /sent 2564 bytes for bucket 5/,
  },
  'a gradient of other weights': {
    answer: (work) => encoded(madeUp(work, { weightsFingerprint: '0123456789abcdef' })),
    reason: /computed round \d+ with other weights/,
  },
  'a node that the tree does not have': {
    answer: (work) => encoded(madeUp(work, { level: 3, index: 9 })),
    reason: /sent a sum that does not exist/,
  },
  "a shard of somebody else's": {
    answer: (work) =>
      encoded(madeUp(work, { level: 0, index: work.firstShard === 0 ? work.numShards - 1 : 0 })),
    reason: /sent a sum it was not asked for/,
  },
  'the end of a task of which it sent nothing': {
    answer: ({ run, round, task }) =>
      encodeMessage({ type: 'finished', run, round, task, computeMs: 1, sendMs: 1, residentBytes: 1 }),
    reason: /finished a task without sending all of its sums/,
  },
  'a message whose header was damaged': {
    answer: (work) => {
      const data = encoded(madeUp(work));
      data[40] = (data[40] as number) ^ 1;
      return data;
    },
    reason: /message checksum does not match/,
  },
  'a message that is not its turn': {
    answer: () => encodeMessage({ type: 'ready', proof: '01'.repeat(64) }),
    reason: /"ready" came while ready/,
  },
};

function encoded({ message, body }: ReturnType<typeof madeUp>): Buffer {
  return encodeMessage(message, body);
}

/**
 * The next task of a training step; an evaluation is left to other workers, which compute it once it is late.
 */
async function nextWork(worker: FakeWorker): Promise<TrainMessage> {
  return (await worker.next('train')).message;
}

describe('a run with misbehaving workers', () => {
  it('duplicates of every sum do not change the weights', async () => {
    const run = await startCoordinator();
    const relay = await startRelay(run.url, TOKEN, ({ message }, data) =>
      message.type === 'gradient' || message.type === 'evaluation' ? [data, data] : [data],
    );
    startWorker(run, relay);
    startWorker(run);
    await expectUndisturbedEnd(run);
    // Neither was disconnected before the end.
    expect(readRosterEvents(run.directory).map((event) => event.split(' ')[0])).toEqual([
      ...['workerJoined', 'workerJoined', 'workerLeft', 'workerLeft'],
    ]);
  });

  it.each(['gradient', 'finished'] as const)(
    'a "%s" repeated in a later round gets its worker disconnected and does not change the weights',
    async (type) => {
      const run = await startCoordinator({ flags: ['--min-workers', '2'] });
      const seen: Buffer[] = [];
      const relay = await startRelay(run.url, TOKEN, ({ message }, data) =>
        message.type === type && seen.push(data) === 2 ? [data, seen[0] as Buffer] : [data],
      );
      startWorker(run, relay);
      startWorker(run);
      await expectUndisturbedEnd(run);
      expect(run.command.stderr).toContain(`left: sent "${type}" about a task that it does not owe`);
    },
  );

  it('a sum in float32 where bfloat16 is due gets its worker disconnected', async () => {
    const run = await startCoordinator({ flags: ['--set', 'wire.gradients=bf16'] });
    const worker = await FakeWorker.join({ url: run.url, token: TOKEN });
    worker.sendBytes(encoded(madeUp(await nextWork(worker))));
    expect((await worker.ended).reason).toBe('sent 2564 bytes for bucket 0');
    startWorker(run);
    await expectUndisturbedEnd(run, { wire: { gradients: 'bf16' } });
  });

  it('workers that lie or fail on a task are disconnected and do not change the weights', async () => {
    // A worker that is needed need not wait, although others from its address were disconnected.
    const run = await startCoordinator({ flags: ['--min-workers', '2'] });
    const honest = startWorker(run);
    const another = startWorker(run);
    await untilEpoch(run.command, run.directory, 1);
    // Their results would end rounds before the lies arrive.
    honest.signal('SIGSTOP');
    another.signal('SIGTERM');
    await another.finished;
    for (const [what, { answer, reason }] of Object.entries(LIES)) {
      const worker = await FakeWorker.join({ url: run.url, token: TOKEN });
      worker.sendBytes(answer(await nextWork(worker)));
      expect({ what, ...(await worker.ended) }).toEqual({
        what,
        code: expect.any(Number) as number,
        reason: expect.stringMatching(reason) as string,
      });
    }
    expect(run.command.hasEnded).toBe(false);
    const last = await FakeWorker.join({ url: run.url, token: TOKEN });
    const { run: name, round, task } = await nextWork(last);
    last.send({ type: 'failure', run: name, round, task, message: 'no memory for this task' });
    await run.command.untilStderr(/worker \d+ \(fake pid \d+\) failed on a task: no memory for this task/);
    expect(await last.ended).toEqual({ code: 4402, reason: 'failed on a task' });
    honest.signal('SIGCONT');
    startWorker(run);
    await expectUndisturbedEnd(run);
  });
});
