// Workers whose results look right but are wrong: they are found, named and disconnected before a step uses
// their results, and the weights stay the same bits.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { CliProcess } from '../helpers/cli.ts';
import { FakeWorker, honestHello } from '../helpers/fake-worker.ts';
import { bansOf, notANumber, oneUlp, startLyingRelay } from '../helpers/lying-relay.ts';
import { startCoordinator, startWorker, TOKEN } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import { startRelay } from '../helpers/relay.ts';
import { readRecords } from '../helpers/run-records.ts';
import { expectUndisturbedEnd, longRun } from '../helpers/undisturbed.ts';

const LIES = [
  { what: 'outputs off by one ulp', type: 'evaluation', change: oneUlp, flags: ['--set', 'audit=1'] },
  { what: 'NaN in its gradient', type: 'gradient', change: notANumber, flags: [] },
] as const;

describe('a worker that sends wrong results', () => {
  it.each(LIES)(
    'a worker that sends $what is banned and does not change the weights',
    async ({ type, change, flags }) => {
      const run = await startCoordinator({ flags: [...flags, '--min-workers', '2'] });
      const liar = startWorker(run, await startLyingRelay(run, type, change));
      startWorker(run);
      const { exitCode, stderr } = await liar.finished;
      startWorker(run);
      expect(exitCode).toBe(5);
      expect(stderr).toMatch(
        /refused this worker: banned from this run: its (gradient of shards|evaluation of shards) \d+ to \d+ is wrong/,
      );
      await expectUndisturbedEnd(run);
      expect(bansOf(run)).toMatchObject([{ name: expect.stringContaining(`pid ${liar.pid}`) as string }]);
      expect(run.command.stderr).toMatch(/(step \d+|the evaluation) restarts: a worker was wrong/);
    },
  );

  it.each([
    ['all its sums are', 1],
    ['a twentieth of its sums is', 0.05],
  ])(
    'the only worker is found out by the coordinator for an error of one ulp where %s checked',
    async (_, share) => {
      const run = await startCoordinator({ flags: ['--set', `audit=${share}`] });
      const liar = startWorker(run, await startLyingRelay(run, 'gradient', oneUlp));
      expect((await liar.finished).exitCode).toBe(5);
      startWorker(run);
      await expectUndisturbedEnd(run);
      expect(bansOf(run)).toHaveLength(1);
    },
  );

  it('a banned worker that comes back is refused at its hello', async () => {
    const run = await startCoordinator({ flags: ['--set', 'audit=1', '--min-workers', '2'] });
    let instance = '';
    const relay = await startRelay(
      await startLyingRelay(run, 'gradient', oneUlp),
      TOKEN,
      ({ message }, data) => {
        if (message.type === 'hello') ({ instance } = message);
        return [data];
      },
    );
    const liar = startWorker(run, relay);
    startWorker(run);
    await liar.finished;
    const again = await FakeWorker.greet(
      { url: run.url, token: TOKEN },
      { ...(await honestHello()), instance },
    );
    const { message } = await again.next('refuse');
    expect(message).toMatchObject({ code: 'E_BANNED' });
    expect((await again.ended).code).toBe(4405);
    startWorker(run);
    await expectUndisturbedEnd(run);
  });
});

describe('a banned local worker', () => {
  it.each([
    { sums: 'float32', values: {} },
    { sums: 'bfloat16', values: { wire: { gradients: 'bf16' as const, groups: 4 } } },
  ])(
    'a banned local worker is not restarted, and the others continue with sums in $sums',
    async ({ values }) => {
      const cwd = longRun(values);
      const args = ['train', 'table.yaml', '--workers', '2', '--run-dir', 'run', '--set', 'audit=1'];
      const env = { LOCKSTEP_FAILPOINT: 'worker.gradient@worker=1:flip' };
      const run = { command: CliProcess.start(args, { cwd, env }), directory: path.join(cwd, 'run') };
      await expectUndisturbedEnd(run, values);
      expect(run.command.stderr).toMatch(
        /worker \d+ \(pid \d+\) ended: exit code 5; it is not started again/,
      );
    },
  );
});

describe('a worker that lies before one of its lies is checked', () => {
  const flags = ['--set', 'checkpoint.everySteps=20'];

  /** Alone, so that its sums count. Without audits no lie of one ulp is checked, but NaN always is. */
  function startLiar(run: NetworkRun): Promise<string> {
    let numLies = 0;
    return startLyingRelay(run, 'gradient', (bits) => (++numLies <= 30 ? oneUlp(bits) : notANumber()));
  }

  it('the steps of a worker that lied before it was caught are all taken again', async () => {
    const run = await startCoordinator({ flags });
    expect((await startWorker(run, await startLiar(run)).finished).exitCode).toBe(5);
    startWorker(run);
    await expectUndisturbedEnd(run);
    expect(bansOf(run)).toMatchObject([{ trustedSteps: 0 }]);
    const wentBack = readRecords(run.directory, 'events.jsonl').filter(
      ({ type }) => type === 'runRolledBack',
    );
    expect(wentBack).toMatchObject([{ step: 0 }]);
    // The metrics look as if nothing had happened.
    const steps = readRecords(run.directory, 'metrics.jsonl').filter((record) => 'lr' in record);
    expect(steps.map(({ _step }) => _step)).toEqual(steps.map((_, index) => index + 1));
  });

  it('a worker that lied before it was caught ends the run where audit.onLie is stop', async () => {
    const run = await startCoordinator({ flags: [...flags, '--set', 'audit.onLie=stop'] });
    startWorker(run, await startLiar(run));
    const { exitCode, stderr } = await run.command.finished;
    expect(exitCode).toBe(1);
    expect(stderr).toContain('error[E_WORKER_LIED]');
  });
});

it('the steps of a worker whose lie is found only in the final evaluation are all taken again', async () => {
  const config = { epochs: 2 };
  const run = await startCoordinator({ config });
  let numEvaluations = 0;
  const lie = await startRelay(
    await startLyingRelay(run, 'gradient', oneUlp),
    TOKEN,
    ({ message, body }, data) => {
      // One after each epoch, and one of the best weights.
      const isLast = message.type === 'evaluation' && ++numEvaluations > config.epochs;
      return isLast ? [encodeMessage({ ...message, lossSum: Number.NaN }, body)] : [data];
    },
  );
  expect((await startWorker(run, lie).finished).exitCode).toBe(5);
  startWorker(run);
  await expectUndisturbedEnd(run, config);
  expect(bansOf(run)).toMatchObject([{ trustedSteps: 0 }]);
});
