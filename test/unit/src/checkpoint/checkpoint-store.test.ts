// The directory of checkpoints: which are kept and removed, and which one is the last or the best,
// even when one is damaged or the run goes back.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { CheckpointStore, type SavedCheckpoint } from '../../../../src/checkpoint/checkpoint-store.ts';
import { readBest, readLast } from '../../../../src/checkpoint/find-checkpoint.ts';
import type { Checkpoint } from '../../../../src/checkpoint/checkpoint-file.ts';
import { MAX_QUEUED_SAVES } from '../../../../src/checkpoint/save-queue.ts';
import { LockstepError } from '../../../../src/errors.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

let directory: string;
let warnings: string[];
let saved: SavedCheckpoint[];

beforeEach(() => {
  directory = path.join(temporaryDirectory(), 'checkpoints');
  warnings = [];
  saved = [];
});

const logger = {
  warn: (fields: unknown, message?: string): void => void warnings.push(message ?? String(fields)),
};

function last({ allowOlder = false } = {}): Promise<Checkpoint | undefined> {
  return readLast(directory, { allowOlder, warn: logger.warn });
}

function best(): Promise<Checkpoint | undefined> {
  return readBest(directory);
}

function open(numKept = 2): Promise<CheckpointStore> {
  return CheckpointStore.open({ directory, numKept, logger, onSaved: (each) => saved.push(each) });
}

/** Saves a checkpoint and waits for it; its only tensor holds the step. */
async function save(store: CheckpointStore, step: number, isBest = false): Promise<void> {
  const tensors = [{ name: 'step', shape: [1], values: Float32Array.of(step) }];
  store.save(step, tensors, { progress: step }, { isBest });
  await store.flush();
}

function names(): string[] {
  return fs.readdirSync(directory).sort();
}

/** Flips a bit in the middle of a file. */
function damage(name: string): string {
  const file = path.join(directory, name);
  const bytes = fs.readFileSync(file);
  const middle = bytes.length >> 1;
  bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
  fs.writeFileSync(file, bytes);
  return file;
}

async function refusal(attempt: Promise<unknown>): Promise<Pick<LockstepError, 'message' | 'help'>> {
  const error: unknown = await attempt.catch((reason: unknown) => reason);
  if (!(error instanceof LockstepError)) throw new Error(`no refusal but ${String(error)}`);
  expect(error.exitCode).toBe(4);
  return { message: error.message, help: error.help };
}

describe('a checkpoint store', () => {
  test('a checkpoint store is empty at first', async () => {
    const store = await open();
    expect(await store.list()).toEqual([]);
    expect(await last()).toBeUndefined();
    expect(await best()).toBeUndefined();
    await store.flush();
  });

  test('a checkpoint store keeps the newest checkpoints, and also the best one', async () => {
    const store = await open(2);
    await save(store, 10, true);
    await save(store, 20);
    await save(store, 30);
    await save(store, 40);
    expect(names()).toEqual([
      'step-000000010-best.safetensors',
      'step-000000030.safetensors',
      'step-000000040.safetensors',
    ]);
    await save(store, 50, true);
    expect(names()).toEqual(['step-000000040.safetensors', 'step-000000050-best.safetensors']);
    expect(await best()).toMatchObject({ step: 50, isBest: true, manifest: { progress: 50 } });
  });

  test('a checkpoint store reports each checkpoint that is safely on the disk', async () => {
    const store = await open();
    await save(store, 10, true);
    const file = path.join(directory, 'step-000000010-best.safetensors');
    expect(saved).toEqual([
      {
        path: file,
        step: 10,
        isBest: true,
        byteLength: fs.statSync(file).size,
        seconds: expect.any(Number) as number,
      },
    ]);
  });

  test('a checkpoint replaces another of the same step, even if it becomes or is no longer the best', async () => {
    const store = await open();
    await save(store, 10);
    await save(store, 10, true);
    expect(names()).toEqual(['step-000000010-best.safetensors']);
    await save(store, 10);
    expect(names()).toEqual(['step-000000010.safetensors']);
  });

  test('checkpoints are sorted by number, even if a step has more digits than names are padded to', async () => {
    const store = await open(3);
    for (const step of [9, 999_999_999, 1_000_000_000]) await save(store, step);
    expect((await store.list()).map(({ step }) => step)).toEqual([1_000_000_000, 999_999_999, 9]);
    expect((await last())?.step).toBe(1_000_000_000);
  });

  test('opening a store removes half-written files of a killed process, and leaves other files alone', async () => {
    await save(await open(), 10);
    fs.writeFileSync(path.join(directory, '.step-000000020.safetensors.0123456789ab.tmp'), 'half');
    fs.writeFileSync(path.join(directory, 'notes.txt'), 'mine');
    await open();
    expect(names()).toEqual(['notes.txt', 'step-000000010.safetensors']);
    expect((await last())?.step).toBe(10);
  });

  test('a checkpoint store reuses memory, and still copies what it is given', async () => {
    const store = await open(3);
    const values = new Float32Array(1000);
    for (const step of [1, 2, 3]) {
      store.save(step, [{ name: 'x', shape: [1000], values: values.fill(step) }], {});
      values.fill(-1);
      if (step < 3) await store.flush();
    }
    await store.flush();
    expect((await last())?.tensors.get('x')?.values).toEqual(new Float32Array(1000).fill(3));
  });

  test('a checkpoint store has at most three copies in memory, however much is saved while one is written', async () => {
    // A process of its own: in this one, other tests leave garbage behind that is collected at any time.
    const program = `
      import { CheckpointStore } from ${JSON.stringify(new URL('../../../../dist/src/checkpoint/checkpoint-store.js', import.meta.url).href)};
      const logger = { warn: () => undefined };
      const store = await CheckpointStore.open({ directory: 'kept', numKept: 3, byteLength: 2 ** 22, logger });
      const values = new Float32Array(2 ** 20);
      const bytes = () => (gc(), process.memoryUsage().arrayBuffers);
      const before = bytes();
      // The first checkpoint is smaller than the others.
      store.save(0, [{ name: 'x', shape: [2 ** 19], values: values.subarray(0, 2 ** 19) }], {});
      for (let round = 0; round < 2; round++) {
        for (let step = 1; step <= 12; step++)
          store.save(step, [{ name: 'x', shape: [values.length], values }], {}, { isBest: step % 3 === 2 });
        console.log(Math.round((bytes() - before) / values.byteLength));
        await store.flush();
      }`;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--expose-gc', '--input-type=module', '--eval', program],
      { cwd: temporaryDirectory() },
    );
    expect(stdout).toBe(`${MAX_QUEUED_SAVES}\n${MAX_QUEUED_SAVES}\n`);
  });

  test('a checkpoint store contains what a simple model predicts, after any saves and reopenings', async () => {
    const operation = fc.record({
      isBest: fc.boolean(),
      gap: fc.integer({ min: 1, max: 3 }),
      isReopened: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(operation, { maxLength: 8 }),
        fc.integer({ min: 1, max: 3 }),
        async (operations, numKept) => {
          fs.rmSync(directory, { recursive: true, force: true });
          let store = await open(numKept);
          const model: { step: number; isBest: boolean }[] = [];
          let step = 0;
          for (const { isBest, gap, isReopened } of operations) {
            step += gap;
            await save(store, step, isBest);
            model.unshift({ step, isBest });
            if (isReopened) store = await open(numKept);
            const bestSaved = model.find((each) => each.isBest);
            const kept = model.filter((each, index) => index < numKept || each === bestSaved);
            expect((await store.list()).map((each) => ({ step: each.step, isBest: each.isBest }))).toEqual(
              kept,
            );
            expect((await last())?.step).toBe(step);
            expect((await best())?.step).toBe(bestSaved?.step);
          }
        },
      ),
      { numRuns: 20 },
    );
  });

  test('a checkpoint store never loses the best checkpoint, however fast others are saved', async () => {
    const store = await open(1);
    for (let step = 1; step <= 50; step++) {
      store.save(
        step,
        [{ name: 'x', shape: [1], values: Float32Array.of(step) }],
        {},
        { isBest: step === 17 },
      );
    }
    await store.flush();
    expect((await store.list()).map(({ step }) => step)).toEqual([50, 17]);
    expect(saved.length).toBeLessThan(6);
  });
});

describe('a damaged checkpoint', () => {
  test('a damaged last checkpoint is refused, and the error names the newest intact one', async () => {
    const store = await open(3);
    for (const step of [10, 20, 30]) await save(store, step);
    damage('step-000000020.safetensors');
    const file = damage('step-000000030.safetensors');
    expect(await refusal(last())).toEqual({
      message: `${file}: damaged: its bytes do not match its SHA-256`,
      help: 'step 30 is lost; the checkpoint of step 10 is whole: add --allow-older to resume from it',
    });
  });

  test('an older checkpoint replaces a damaged one if that is allowed, with a warning that names both', async () => {
    const store = await open();
    for (const step of [10, 20]) await save(store, step);
    const file = damage('step-000000020.safetensors');
    expect((await last({ allowOlder: true }))?.step).toBe(10);
    expect(warnings).toEqual([
      `the checkpoint of step 20 cannot be used (${file}: damaged: its bytes do not match its SHA-256): resuming from that of step 10`,
    ]);
  });

  test('a damaged checkpoint is an error if no other is intact', async () => {
    const store = await open();
    for (const step of [10, 20]) await save(store, step);
    for (const name of names()) damage(name);
    expect((await refusal(last({ allowOlder: true }))).help).toBe(
      'step 20 is lost, and there is no older checkpoint that is whole',
    );
  });

  test('a damaged best checkpoint is refused', async () => {
    const store = await open();
    await save(store, 10, true);
    await save(store, 20);
    damage('step-000000010-best.safetensors');
    expect((await refusal(best())).message).toMatch(/damaged/);
  });

  test('a checkpoint that was renamed is refused', async () => {
    const store = await open();
    await save(store, 10);
    fs.renameSync(path.join(directory, names()[0] ?? ''), path.join(directory, 'step-000000090.safetensors'));
    expect((await refusal(last())).message).toMatch(
      /: renamed; it was written as step-000000010.safetensors$/,
    );
  });
});

describe('a run that resumes from an older checkpoint', () => {
  test('resuming from an older checkpoint hides newer ones, and removes them when the next one is on the disk', async () => {
    const store = await open(2);
    await save(store, 10, true);
    for (const step of [20, 30]) await save(store, step);
    await store.continueFrom(10);
    expect(names()).toEqual([
      'step-000000010-best.safetensors',
      'step-000000020.safetensors.abandoned',
      'step-000000030.safetensors.abandoned',
    ]);
    expect((await last())?.step).toBe(10);
    const reopened = await open(2);
    await save(reopened, 15);
    expect(names()).toEqual(['step-000000010-best.safetensors', 'step-000000015.safetensors']);
  });

  test('resuming from the last checkpoint changes nothing in the store', async () => {
    const store = await open();
    await save(store, 10);
    await store.continueFrom(10);
    expect(names()).toEqual(['step-000000010.safetensors']);
  });
});

test('a checkpoint that cannot be removed is named once, and does not keep others from being removed', async () => {
  const store = await open(1);
  const stray = path.join(directory, 'step-000000001.safetensors');
  fs.mkdirSync(stray);
  for (const step of [2, 3, 4]) await save(store, step);
  expect(names()).toEqual(['step-000000001.safetensors', 'step-000000004.safetensors']);
  expect(warnings).toEqual([`the old checkpoint ${stray} cannot be removed: it is a directory`]);
});
