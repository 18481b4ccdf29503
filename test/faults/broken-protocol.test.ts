// Workers that send late, duplicate, damaged or made-up messages: the weights stay the same bits, and a
// worker that breaks the protocol is disconnected.
import { describe, expect, it } from 'vitest';
import type { TrainMessage } from '../../src/protocol/message-types.ts';
import { FakeWorker } from '../helpers/fake-worker.ts';
import { encoded, LIES, madeUp } from '../helpers/made-up.ts';
import { startCoordinator, startWorker, TOKEN } from '../helpers/network-run.ts';
import { startRelay } from '../helpers/relay.ts';
import { readRosterEvents, untilEpoch } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

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
