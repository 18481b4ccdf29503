// Workers whose results look right but are wrong, that pretend to be others, or that report that they cannot
// compute: each harms only itself.
import { describe, expect, it } from 'vitest';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { Instance } from '../../src/protocol/instance.ts';
import type { Received, WorkerMessage } from '../../src/protocol/message-types.ts';
import { FakeWorker, honestHello } from '../helpers/fake-worker.ts';
import { bansOf, oneUlp, startLyingRelay } from '../helpers/lying-relay.ts';
import { madeUp } from '../helpers/made-up.ts';
import { startCoordinator, startTraining, startWorker, TOKEN } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import { startRelay } from '../helpers/relay.ts';
import { readRecords, readRosterEvents, untilEpoch } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

describe('a worker whose gradients are wrong by one ulp', () => {
  it('a worker whose gradients are wrong by one ulp is banned before the step is taken where all sums are audited', async () => {
    const run = await startCoordinator({ flags: ['--set', 'audit=1', '--min-workers', '2'] });
    const liar = startWorker(run, await startLyingRelay(run, 'gradient', oneUlp));
    startWorker(run);
    const { exitCode, stderr } = await liar.finished;
    startWorker(run);
    expect(exitCode).toBe(5);
    expect(stderr).toMatch(
      /refused this worker: banned from this run: its gradient of shards \d+ to \d+ is wrong/,
    );
    await expectUndisturbedEnd(run);
    const [ban, ...others] = bansOf(run);
    expect(others).toEqual([]);
    expect(ban).toMatchObject({ name: expect.stringContaining(`pid ${liar.pid}`) as string });
    expect(ban).not.toHaveProperty('trustedSteps');
    expect(run.command.stderr).toMatch(/step \d+ restarts: a worker was wrong/);
  });
});

/** 90 steps. */
const SHORT = { epochs: 6 };
/** The failure of a worker that has too little memory. */
const NO_MEMORY = 'WebAssembly.Memory.grow(): Unable to grow instance memory';

/**
 * A worker that reports too little memory for its first task of a step; resolves to why it was disconnected.
 */
async function failOnce(run: NetworkRun, instance = new Instance()): Promise<string> {
  const small = await FakeWorker.join({ url: run.url, token: TOKEN }, {}, instance);
  const { message } = await small.next('train');
  const { run: name, round, task } = message;
  small.send({ type: 'failure', run: name, round, task, message: NO_MEMORY });
  return (await small.ended).reason;
}

describe('shards for which two workers lack the memory', () => {
  it('shards for which two workers lack the memory are computed by the coordinator until another worker joins', async () => {
    const run = await startCoordinator({ config: SHORT });
    expect(await failOnce(run)).toBe('failed on a task');
    expect(await failOnce(run)).toBe('failed on a task');
    await run.command.untilStderr(/the coordinator computes shard 0 itself/);
    startWorker(run);
    await expectUndisturbedEnd(run, SHORT);
    expect(bansOf(run)).toEqual([]);
  });

  it('shards for which two workers and the coordinator lack the memory end the run and are named', async () => {
    const env = { LOCKSTEP_FAILPOINT: 'coordinator.compute:throw' };
    const run = await startCoordinator({ config: SHORT, cli: { env } });
    await failOnce(run);
    await failOnce(run);
    const { exitCode, stderr } = await run.command.finished;
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /error\[E_SHARD_MEMORY\]: no worker has the memory to train shard 0 \(dataset rows \d+(?:, \d+){7}\): WebAssembly\.Memory\.grow\(\): Unable to grow instance memory; nor can the coordinator: error made by failpoint coordinator\.compute\n/,
    );
  });
});

it('a worker that fails on five tasks in a row is banned, and another one finishes the run', async () => {
  const run = await startCoordinator({ config: SHORT });
  const instance = new Instance();
  for (let count = 1; count <= 4; count++) expect(await failOnce(run, instance)).toBe('failed on a task');
  expect(await failOnce(run, instance)).toMatch(/^failed on 5 tasks in a row: WebAssembly/);
  const hello = { ...(await honestHello()), instance: instance.name };
  const again = await FakeWorker.greet({ url: run.url, token: TOKEN }, hello);
  expect((await again.next('refuse')).message.code).toBe('E_BANNED');
  startWorker(run);
  await expectUndisturbedEnd(run, SHORT);
  expect(bansOf(run)).toHaveLength(1);
});

describe('workers in containers that share a host name and process id', () => {
  const twins = { host: 'container', pid: 1 };

  it('workers with the same host name and process id are not banned for what one of them sends', async () => {
    const run = await startCoordinator({ config: SHORT, flags: ['--min-workers', '3'] });
    const rename = ({ message, body }: Received<WorkerMessage>, data: Buffer): Buffer[] =>
      message.type === 'hello' ? [encodeMessage({ ...message, ...twins }, body)] : [data];
    const sound = [];
    for (let count = 0; count < 2; count++) {
      sound.push(startWorker(run, await startRelay(run.url, TOKEN, rename)));
    }
    const liar = startWorker(
      run,
      await startRelay(run.url, TOKEN, (received, data) =>
        received.message.type === 'gradient'
          ? [encodeMessage({ ...received.message, lossSum: 1e308 }, received.body)]
          : rename(received, data),
      ),
    );
    expect((await liar.finished).exitCode).toBe(5);
    startWorker(run);
    await expectUndisturbedEnd(run, SHORT);
    for (const worker of sound) expect((await worker.finished).exitCode).toBe(0);
    expect(bansOf(run)).toMatchObject([{ name: expect.stringContaining('(container pid 1)') as string }]);
  });

  it('a worker cannot take the place of another by claiming the name of its instance', async () => {
    const run = await startCoordinator();
    let instance = '';
    const relay = await startRelay(run.url, TOKEN, ({ message }, data) => {
      if (message.type === 'hello') ({ instance } = message);
      return [data];
    });
    const honest = startWorker(run, relay);
    await untilEpoch(run.command, run.directory, 1);
    const thief = await FakeWorker.join({ url: run.url, token: TOKEN }, { instance });
    expect(await thief.ended).toEqual({
      code: 4402,
      reason: '"ready" does not prove the instance of "hello" on this connection',
    });
    await expectUndisturbedEnd(run);
    expect((await honest.finished).exitCode).toBe(0);
    expect(readRosterEvents(run.directory)).toEqual(['workerJoined 1', 'workerLeft 1']);
  });
});

it('a worker that sends an impossible loss of an evaluation is banned', async () => {
  const run = await startCoordinator({ config: SHORT });
  const lie = await startRelay(run.url, TOKEN, ({ message, body }, data) =>
    message.type === 'evaluation' ? [encodeMessage({ ...message, lossSum: -1e200 }, body)] : [data],
  );
  expect((await startWorker(run, lie).finished).exitCode).toBe(5);
  startWorker(run);
  await expectUndisturbedEnd(run, SHORT);
  expect(bansOf(run)).toHaveLength(1);
});

describe('a bad machine that keeps coming back', () => {
  it('a bad machine that keeps coming back undoes no step and waits longer each time, even though it is needed', async () => {
    const run = await startTraining();
    run.worker.signal('SIGKILL');
    for (let visit = 0; visit < 3; visit++) {
      const liar = await FakeWorker.join({ url: run.url, token: TOKEN });
      const { message, body } = madeUp((await liar.next('train')).message, { lossSum: Infinity });
      liar.send(message, body);
      expect((await liar.ended).code).toBe(4405);
    }
    const { stderr } = run.command;
    expect(stderr).toMatch(/waits 1 s: a worker was banned at the address 127\.0\.0\.1/);
    expect(stderr).toMatch(/waits 2 s: a worker was banned at the address 127\.0\.0\.1/);
    startWorker(run);
    await expectUndisturbedEnd(run);
    expect(bansOf(run)).toHaveLength(3);
    const wentBack = readRecords(run.directory, 'events.jsonl').filter(
      ({ type }) => type === 'runRolledBack',
    );
    expect(wentBack).toEqual([]);
  });
});
