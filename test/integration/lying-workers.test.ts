// Workers whose results look right and are not: they are found, named and sent away before a step with their results
// happens, and the weights stay the same bits. A relay lies for an honest process, so that all but one number is real.
import { describe, expect, it } from 'vitest';
import { ByteFingerprinter } from '../../src/engine/fingerprint.ts';
import { instantiateKernels, loadKernelModule } from '../../src/kernels/kernels.ts';
import { Memory } from '../../src/memory.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import type { EvaluationMessage, GradientMessage } from '../../src/protocol/message-types.ts';
import { FakeWorker, honestHello } from '../helpers/fake-worker.ts';
import { startCoordinator, startWorker, TOKEN } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import { startRelay } from '../helpers/relay.ts';
import { readRecords } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const { module } = await loadKernelModule();
const memory = new Memory();
const fingerprinter = new ByteFingerprinter(await instantiateKernels(module, memory.wasm), memory);

/** The message with a number of its body changed, and the fingerprint that belongs to the new bytes. */
function changed(
  message: GradientMessage | EvaluationMessage,
  body: Uint8Array,
  change: (bits: number) => number,
): Buffer {
  const bytes = new Uint8Array(body);
  const words = new Uint32Array(bytes.buffer);
  words[0] = change(words[0] as number);
  return encodeMessage({ ...message, fingerprint: fingerprinter.fingerprint(bytes) }, bytes);
}

const oneUlp = (bits: number): number => bits + 1;
const notANumber = (): number => 0x7fc00000;

/** A relay that lies in its first message of a type, and in all after it: a copy that nobody waits for is not looked at. */
function startLyingRelay(
  run: NetworkRun,
  type: 'gradient' | 'evaluation',
  change: (bits: number) => number,
): Promise<string> {
  return startRelay(run.url, TOKEN, ({ message, body }, data) => [
    message.type === type ? changed(message, body, change) : data,
  ]);
}

const bansOf = (run: NetworkRun): Record<string, unknown>[] =>
  readRecords(run.directory, 'events.jsonl').filter(({ type }) => type === 'workerBanned');

const LIES = [
  { what: 'one ulp of its gradients', type: 'gradient', change: oneUlp, flags: ['--set', 'audit=1'] },
  { what: 'one ulp of its outputs', type: 'evaluation', change: oneUlp, flags: ['--set', 'audit=1'] },
  { what: 'NaN in its gradients', type: 'gradient', change: notANumber, flags: [] },
] as const;

describe('a worker that is wrong about', () => {
  it.each(LIES)('$what is banned, and the weights are the same', async ({ type, change, flags }) => {
    const run = await startCoordinator({ flags: [...flags, '--min-workers', '2'] });
    const liar = startWorker(run, await startLyingRelay(run, type, change));
    startWorker(run);
    const { exitCode, stderr } = await liar.finished;
    startWorker(run);
    expect(exitCode).toBe(5);
    expect(stderr).toMatch(
      /refused this worker: banned from this run: its (gradient of shards|evaluation of leaves) \d+ to \d+ is not what they give/,
    );
    await expectUndisturbedEnd(run);
    expect(bansOf(run)).toMatchObject([
      { name: expect.stringContaining(`pid ${liar.pid}`) as string, isFullyAudited: flags.length > 0 },
    ]);
    expect(run.command.stderr).toMatch(/(step \d+|the evaluation) begins again: a worker was wrong/);
  });

  it('one ulp, alone with the coordinator, is found by the coordinator itself', async () => {
    const run = await startCoordinator({ flags: ['--set', 'audit=1'] });
    const liar = startWorker(run, await startLyingRelay(run, 'gradient', oneUlp));
    expect((await liar.finished).exitCode).toBe(5);
    startWorker(run);
    await expectUndisturbedEnd(run);
    expect(bansOf(run)).toHaveLength(1);
  });

  it('a shard, and comes back, is refused at its hello', async () => {
    const run = await startCoordinator({ flags: ['--set', 'audit=1', '--min-workers', '2'] });
    const liar = startWorker(run, await startLyingRelay(run, 'gradient', oneUlp));
    startWorker(run);
    await liar.finished;
    const [ban] = bansOf(run);
    const [, host, pid] = /\((\S+) pid (\d+)\)/.exec(String(ban?.['name'])) ?? [];
    const again = await FakeWorker.greet(
      { url: run.url, token: TOKEN },
      { ...(await honestHello()), host: String(host), pid: Number(pid) },
    );
    const { message } = await again.next('refuse');
    expect(message).toMatchObject({ code: 'E_BANNED' });
    expect((await again.ended).code).toBe(4405);
    startWorker(run);
    await expectUndisturbedEnd(run);
  });
});

describe('a worker that lies for a while before a sample of its sums is checked', () => {
  const flags = ['--set', 'audit.share=0.05', '--set', 'checkpoint.everySteps=20', '--min-workers', '2'];

  it('has all its steps taken again, from before it came', async () => {
    const run = await startCoordinator({ flags });
    const liar = startWorker(run, await startLyingRelay(run, 'gradient', oneUlp));
    startWorker(run);
    expect((await liar.finished).exitCode).toBe(5);
    startWorker(run);
    await expectUndisturbedEnd(run);
    expect(bansOf(run)).toMatchObject([{ isFullyAudited: false }]);
    const wentBack = readRecords(run.directory, 'events.jsonl').filter(
      ({ type }) => type === 'runRolledBack',
    );
    expect(wentBack).toMatchObject([{ step: 0 }]);
    // The metrics read as if nothing had happened.
    const steps = readRecords(run.directory, 'metrics.jsonl').filter((record) => 'lr' in record);
    expect(steps.map(({ _step }) => _step)).toEqual(steps.map((_, index) => index + 1));
  });

  it('ends the run where that is the policy', async () => {
    const run = await startCoordinator({ flags: [...flags, '--set', 'audit.onLie=stop'] });
    startWorker(run, await startLyingRelay(run, 'gradient', oneUlp));
    startWorker(run);
    const { exitCode, stderr } = await run.command.finished;
    expect(exitCode).toBe(1);
    expect(stderr).toContain('error[E_WORKER_LIED]');
  });
});

describe('a shard that needs more memory than two workers have', () => {
  it('ends the run and is named', async () => {
    const run = await startCoordinator();
    for (let worker = 0; worker < 2; worker++) {
      const small = await FakeWorker.join({ url: run.url, token: TOKEN });
      const { message } = await small.next('train');
      const { run: name, round, attempt } = message;
      const reason = 'WebAssembly.Memory.grow(): Unable to grow instance memory';
      small.send({ type: 'failure', run: name, round, attempt, message: reason });
      await small.leave();
    }
    const { exitCode, stderr } = await run.command.finished;
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /error\[E_SHARD_MEMORY\]: shards 0 to 7 \(dataset rows \d+, \.\.\. \d+\) needs more memory than the workers have: WebAssembly\.Memory\.grow\(\)/,
    );
  });
});
