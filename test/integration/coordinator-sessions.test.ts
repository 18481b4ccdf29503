// A coordinator whose workers come back or pretend to, speak another version, or stay away.
import { describe, expect, it } from 'vitest';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import { Instance } from '../../src/protocol/instance.ts';
import { FakeWorker } from '../helpers/fake-worker.ts';
import { startCoordinator, startTraining, startWorker, TOKEN } from '../helpers/network-run.ts';
import { startRelay } from '../helpers/relay.ts';
import { countEpochs, readRosterEvents, untilEpoch } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

describe('a coordinator', () => {
  it('a worker that comes back replaces its own earlier connection', async () => {
    const run = await startTraining();
    // While its only honest worker is stopped, the run cannot end before the other one has come back.
    run.worker.signal('SIGSTOP');
    const options = { url: run.url, token: TOKEN };
    const instance = new Instance();
    const old = await FakeWorker.join(options, {}, instance);
    await old.next('train', 'evaluate');
    const back = await FakeWorker.join(options, {}, instance);
    expect(await old.ended).toEqual({ code: 4404, reason: 'superseded session: the worker has come back' });
    await run.command.untilStderr(/worker 2 .* left: superseded session/);
    await back.leave();
    run.worker.signal('SIGCONT');
    await expectUndisturbedEnd(run);
  });

  it('a coordinator rejects a recording of another connection', async () => {
    const run = await startCoordinator();
    const recorded: Buffer[] = [];
    const relay = await startRelay(run.url, TOKEN, (_received, data) => {
      recorded.push(data);
      return [data];
    });
    startWorker(run, relay);
    await untilEpoch(run.command, run.directory, 1);
    const replayed = await FakeWorker.connect({ url: run.url, token: TOKEN });
    for (const data of recorded.slice(0, 200)) replayed.sendBytes(data);
    expect(await replayed.ended).toEqual({
      code: 4402,
      reason: '"ready" does not prove the instance of "hello" on this connection',
    });
    await expectUndisturbedEnd(run);
    expect(readRosterEvents(run.directory)).toEqual(['workerJoined 1', 'workerLeft 1']);
  });

  it('a coordinator names both versions to a worker whose messages it cannot read', async () => {
    const run = await startCoordinator();
    const stranger = await FakeWorker.connect({ url: run.url, token: TOKEN });
    const data = encodeMessage({ type: 'leave' });
    data.writeUInt16LE(3, 4);
    stranger.sendBytes(data);
    expect(await stranger.ended).toEqual({
      code: 4401,
      reason: `message of protocol 3, this side speaks ${PROTOCOL_VERSION}: install the same version on both`,
    });
    run.command.signal('SIGTERM');
    expect((await run.command.finished).exitCode).toBe(143);
  });

  it('a coordinator that loses its last worker gives up after the configured wait with exit code 7', async () => {
    const run = await startTraining({ flags: ['--wait-for-workers', '2'] });
    run.worker.signal('SIGKILL');
    const { exitCode, stderr } = await run.command.finished;
    expect(exitCode).toBe(7);
    expect(stderr).toContain('0 of 1 workers, waiting');
    expect(stderr).toContain('error[E_NO_WORKERS]: no worker joined within 2 s');
    expect(countEpochs(run.directory)).toBeGreaterThan(0);
  });
});
