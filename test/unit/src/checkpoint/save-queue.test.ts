// Checkpoints that wait: which replaces which, what a full or failing disk does to them,
// and when a flush gives up.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { SaveQueue, type QueuedSave } from '../../../../src/checkpoint/save-queue.ts';
import { LockstepError } from '../../../../src/errors.ts';

const DEADLINE_MS = 5000;

/** A queue over a disk whose writes end when the test ends them. */
function queueOverDisk(): {
  queue: SaveQueue<QueuedSave>;
  /** Ends the write in progress, with success or with a system error. */
  end: (code?: string) => Promise<void>;
  /** The steps whose writes have started; the next two lists hold those written and released. */
  started: number[];
  written: number[];
  released: number[];
  warnings: string[];
} {
  const started: number[] = [];
  const written: number[] = [];
  const released: number[] = [];
  const warnings: string[] = [];
  let finish: ((code?: string) => void) | undefined;
  const queue = new SaveQueue<QueuedSave>({
    write: ({ step }) => {
      started.push(step);
      return new Promise((resolve, reject) => {
        finish = (code) => {
          finish = undefined;
          if (code !== undefined) return reject(Object.assign(new Error(`${code}: no`), { code }));
          written.push(step);
          resolve();
        };
      });
    },
    onReleased: ({ step }) => released.push(step),
    logger: { warn: (_fields: unknown, message?: string) => void warnings.push(String(message)) },
  });
  const end = async (code?: string): Promise<void> => {
    for (let wait = 0; !finish; wait++) {
      if (wait > 200) throw new Error('nothing is being written');
      await sleep(5);
    }
    finish(code);
    await sleep(0);
  };
  return { queue, end, started, written, released, warnings };
}

function save(step: number, isBest = false): QueuedSave {
  return { path: `/c/${step}`, step, isBest };
}

async function refusal(attempt: Promise<unknown>): Promise<string> {
  const error: unknown = await attempt.catch((reason: unknown) => reason);
  if (!(error instanceof LockstepError)) throw new Error(`no refusal but ${String(error)}`);
  expect(error).toMatchObject({ code: 'E_CHECKPOINT_SAVE', exitCode: 4 });
  return error.message;
}

test('checkpoints are written one at a time, and only the newest of those waiting', async () => {
  const { queue, end, started, written, released } = queueOverDisk();
  for (const step of [1, 2, 3, 4]) queue.add(save(step));
  expect(started).toEqual([1]);
  expect(released).toEqual([2, 3]);
  await end();
  await end();
  await queue.flush(DEADLINE_MS);
  expect(written).toEqual([1, 4]);
  expect(released).toEqual([2, 3, 1, 4]);
});

test('the best checkpoint waits beside the newest, and is written before it', async () => {
  const { queue, end, written } = queueOverDisk();
  for (const each of [save(1), save(2, true), save(3), save(4)]) queue.add(each);
  await end();
  await end();
  await end();
  await queue.flush(DEADLINE_MS);
  expect(written).toEqual([1, 2, 4]);
});

test('a new best checkpoint replaces all waiting ones', async () => {
  const { queue, end, written, released } = queueOverDisk();
  for (const each of [save(1), save(2, true), save(3), save(4, true)]) queue.add(each);
  expect(released).toEqual([3, 2]);
  await end();
  await end();
  await queue.flush(DEADLINE_MS);
  expect(written).toEqual([1, 4]);
});

test('a full disk is not a failure: it causes a warning each time, and the next save tries again', async () => {
  const { queue, end, written, warnings } = queueOverDisk();
  for (let step = 1; step <= 20; step++) {
    queue.add(save(step));
    await end(step % 2 === 0 ? 'EDQUOT' : 'ENOSPC');
  }
  expect(queue.failure).toBeUndefined();
  expect(warnings).toHaveLength(20);
  expect(warnings[0]).toBe(
    'the checkpoint of step 1 is NOT written: no space left on the disk. Training continues; the next checkpoint tries again',
  );
  queue.add(save(21));
  await end();
  await queue.flush(DEADLINE_MS);
  expect(written).toEqual([21]);
});

test('a best checkpoint that found no space is retried with the next save, even if that one is not the best', async () => {
  const { queue, end, written, started } = queueOverDisk();
  queue.add(save(1, true));
  await end('ENOSPC');
  expect(started).toEqual([1]);
  queue.add(save(2));
  await end();
  await end();
  await queue.flush(DEADLINE_MS);
  expect(written).toEqual([1, 2]);
});

test('a best checkpoint that found no space is not retried after a better one', async () => {
  const { queue, end, written, released } = queueOverDisk();
  queue.add(save(1, true));
  queue.add(save(2, true));
  await end('ENOSPC');
  expect(released).toEqual([1]);
  const flushed = queue.flush(DEADLINE_MS);
  await end();
  await flushed;
  expect(written).toEqual([2]);
});

test('a flush retries a checkpoint that found no space once, and then names the file', async () => {
  const { queue, end, written } = queueOverDisk();
  queue.add(save(1));
  await end('ENOSPC');
  const failing = refusal(queue.flush(DEADLINE_MS));
  await end('ENOSPC');
  expect(await failing).toBe('/c/1: not written (no space left on the disk)');
  const flushed = queue.flush(DEADLINE_MS);
  await end();
  await flushed;
  expect(written).toEqual([1]);
});

test('nothing more is written after a disk has failed three times in a row', async () => {
  const { queue, end, started, warnings } = queueOverDisk();
  queue.add(save(1));
  await end('EIO');
  await end('EIO');
  expect(queue.failure).toBeUndefined();
  await end('EIO');
  const message = '/c/1: not written in 3 attempts (EIO: no)';
  expect(queue.failure).toMatchObject({ message, exitCode: 4 });
  expect(await refusal(queue.flush(DEADLINE_MS))).toBe(message);
  expect(() => queue.add(save(2))).toThrow(message);
  expect(started).toEqual([1, 1, 1]);
  expect(warnings).toEqual(Array(2).fill('the checkpoint of step 1 is written again: EIO: no'));
});

test('a success between failures resets their count', async () => {
  const { queue, end, written } = queueOverDisk();
  for (const step of [1, 2, 3]) {
    queue.add(save(step));
    await end('EIO');
    await end('EIO');
    await end();
  }
  await queue.flush(DEADLINE_MS);
  expect(written).toEqual([1, 2, 3]);
});

test('a flush gives up at its deadline and names the file', async () => {
  const { queue, end } = queueOverDisk();
  queue.add(save(1));
  expect(await refusal(queue.flush(50))).toBe('/c/1: not written within 0.05 s');
  await end();
  await queue.flush(DEADLINE_MS);
});

test('a flush of an empty queue ends at once', async () => {
  await queueOverDisk().queue.flush(DEADLINE_MS);
});
