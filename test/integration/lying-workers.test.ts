// A worker whose results look right and are not, and shards that nobody can compute: more of both is in test/faults.
import { describe, expect, it } from 'vitest';
import { FakeWorker } from '../helpers/fake-worker.ts';
import { bansOf, oneUlp, startLyingRelay } from '../helpers/lying-relay.ts';
import { startCoordinator, startWorker, TOKEN } from '../helpers/network-run.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

describe('a worker that is wrong about one ulp of its gradients', () => {
  it('is banned before the step is taken, where all sums are audited', async () => {
    const run = await startCoordinator({ flags: ['--set', 'audit=1', '--min-workers', '2'] });
    const liar = startWorker(run, await startLyingRelay(run, 'gradient', oneUlp));
    startWorker(run);
    const { exitCode, stderr } = await liar.finished;
    startWorker(run);
    expect(exitCode).toBe(5);
    expect(stderr).toMatch(
      /refused this worker: banned from this run: its gradient of shards \d+ to \d+ is not what they give/,
    );
    await expectUndisturbedEnd(run);
    expect(bansOf(run)).toMatchObject([
      { name: expect.stringContaining(`pid ${liar.pid}`) as string, isFullyAudited: true },
    ]);
    expect(run.command.stderr).toMatch(/step \d+ begins again: a worker was wrong/);
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
      /error\[E_SHARD_MEMORY\]: no worker has the memory to train shards 0 to 7 \(dataset rows \d+(?:, \d+){63}\): WebAssembly\.Memory\.grow\(\)/,
    );
  });
});
