// A worker behind a line that silently drops everything: the worker is given up in time, and comes back.
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { startOver, workerAt } from '../helpers/linked-run.ts';
import { Link, missingForNamespaces } from '../helpers/namespaces.ts';
import type { Cut } from '../helpers/namespaces.ts';
import { readRosterEvents } from '../helpers/run-records.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const missing = missingForNamespaces(['tc', 'nft']);

describe.skipIf(missing !== undefined)(
  `over a virtual Ethernet${missing === undefined ? '' : ` (not here: ${missing} missing)`}`,
  () => {
    it.each<Cut>(['both ways', 'towards the coordinator', 'towards the worker'])(
      'a worker whose link is cut %s is given up and comes back when the link is restored',
      async (how) => {
        const run = await startOver(Link.ethernet({ rate: '100mbit', lossPercent: 0 }), {});
        const worker = workerAt(run, 'worker');
        await run.command.untilStderr(/worker 1 .* joined/);
        run.link.cut(how);
        const cutMs = performance.now();
        await run.command.untilStderr(/worker 1 .* left: /);
        const noticedMs = performance.now() - cutMs;
        await run.command.untilStderr(/0 of 1 workers, waiting/);
        await sleep(1000);
        run.link.heal();
        await expectUndisturbedEnd(run);
        expect(noticedMs).toBeLessThan(50_000);
        expect(readRosterEvents(run.directory)).toEqual([
          ...['workerJoined 1', 'workerLeft 1', 'workerJoined 1', 'workerLeft 1'],
        ]);
        expect((await worker.finished).exitCode).toBe(0);
      },
    );

    it('a link that is cut and restored before either end notices does not disturb the run', async () => {
      const run = await startOver(Link.ethernet({ rate: '100mbit', lossPercent: 0 }), {});
      const worker = workerAt(run, 'worker');
      await run.command.untilStderr(/worker 1 .* joined/);
      run.link.cut('both ways');
      await sleep(5000);
      run.link.heal();
      await expectUndisturbedEnd(run);
      expect(readRosterEvents(run.directory)).toEqual(['workerJoined 1', 'workerLeft 1']);
      expect((await worker.finished).exitCode).toBe(0);
    });
  },
);
