// Checkpoints when the process dies or the disk fails at any system call: the store then opens with the old
// or the new checkpoint, whole, and holds nothing half-written.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { CheckpointStore } from '../../src/checkpoint/checkpoint-store.ts';
import { readBest, readLast } from '../../src/checkpoint/find-checkpoint.ts';
import { importBuilt, missingForTracing, runTraced, type TracedResult } from '../helpers/traced.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const SWEEP_MS = 180_000;
/** A sweep that finds no end has found a bug. */
const MAX_CALLS = 60;

const missing = missingForTracing();
const needs = missing === undefined ? '' : ` (skipped: needs ${missing})`;

let root: string;

beforeEach(() => {
  root = temporaryDirectory();
});

const silent = { warn: (): void => undefined };

function open(directory: string): Promise<CheckpointStore> {
  return CheckpointStore.open({ directory, numKept: 2, logger: silent });
}

/** A directory with the steps 10 (the best), 20 and 30. */
async function oldCheckpoints(name: string): Promise<string> {
  const directory = path.join(root, name);
  const store = await open(directory);
  for (const step of [10, 20, 30]) {
    store.save(step, tensorsOf(step), { progress: step }, { isBest: step === 10 });
    await store.flush();
  }
  return directory;
}

function tensorsOf(step: number): { name: string; shape: number[]; values: Float32Array }[] {
  return [{ name: 'x', shape: [100_000], values: new Float32Array(100_000).fill(step) }];
}

/** Opens a store on `directory` as `oldCheckpoints` does, and does `work` with it. */
function programOf(directory: string, work: string): { imports: string; body: string } {
  return {
    imports: importBuilt('CheckpointStore', 'src/checkpoint/checkpoint-store.js'),
    body: `
      const logger = { warn: (fields, message) => console.error(message ?? fields) };
      const onSaved = ({ step }) => console.log(step);
      const store = await CheckpointStore.open({ directory: ${JSON.stringify(directory)}, numKept: 2, logger, onSaved });
      const save = (step, isBest = false) => {
        store.save(step, [{ name: 'x', shape: [100000], values: new Float32Array(100000).fill(step) }], { progress: step }, { isBest });
        return store.flush();
      };
      try { ${work} } catch (error) { console.error(error.code + ': ' + error.message); process.exitCode = error.exitCode; }`,
  };
}

/** Opens the store and reads everything in it. Returns the steps, the newest first. */
async function expectWhole(directory: string): Promise<number[]> {
  const store = await open(directory);
  expect(fs.readdirSync(directory).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  const generations = await store.list();
  for (const { path: file, step } of generations) {
    // Alone in a directory, each is the last one there.
    const alone = path.join(root, 'alone');
    fs.mkdirSync(alone);
    fs.copyFileSync(file, path.join(alone, path.basename(file)));
    const checkpoint = await readLast(alone, silent);
    fs.rmSync(alone, { recursive: true });
    expect(checkpoint).toMatchObject({ step, manifest: { progress: step } });
    expect(checkpoint?.tensors.get('x')?.values).toEqual(new Float32Array(100_000).fill(step));
  }
  return generations.map(({ step }) => step);
}

/**
 * Kills a program at its first, second, ... call of one kind, until it survives. Returns how often it died.
 */
async function sweepKills(
  call: string,
  run: (options: readonly string[], round: number) => Promise<TracedResult>,
): Promise<number> {
  for (let round = 1; round <= MAX_CALLS; round++) {
    const options = ['-e', `trace=${call}`, '-e', `inject=${call}:signal=SIGKILL:when=${round}`];
    const { signal, exitCode, stderr } = await run(options, round);
    if (signal === null) {
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      return round - 1;
    }
    expect(signal).toBe('SIGKILL');
  }
  throw new Error(`more than ${MAX_CALLS} calls of ${call}`);
}

describe.skipIf(missing !== undefined)(`the system calls of a save${needs}`, () => {
  test('the system calls of a save come in the order that makes it durable and delete old files last', async () => {
    const directory = await oldCheckpoints('order');
    const { calls, stdout } = await runTraced(programOf(directory, 'await save(40, true);'), [
      '-e',
      'trace=openat,write,pwrite64,pwritev,fsync,fdatasync,rename,renameat,renameat2,link,unlink,unlinkat',
    ]);
    expect(stdout).toBe('40\n');
    const steps = calls
      .filter((line) => line.includes(directory) && !line.includes('O_RDONLY'))
      // The second half of a call during which another thread made one: its first half names the call.
      .filter((line) => !line.includes(' resumed>'))
      .map((line) => line.replace(/^\d+ +/, '').replace(/AT_FDCWD<[^>]*>, |\d+</g, ''))
      .map((line) => line.replaceAll(directory, 'DIR').replace(/\.[0-9a-f]{12}\.tmp/, '.tmp'))
      .map((line) => /^(\w+)\("?([^">]+)/.exec(line)?.slice(1).join(' '));
    const temporary = 'DIR/.step-000000040-best.safetensors.tmp';
    expect(steps).toEqual([
      `openat ${temporary}`,
      // The header, two slices of tensors, the hash.
      ...Array<string>(4).fill(`pwrite64 ${temporary}`),
      `fsync ${temporary}`,
      `rename ${temporary}`,
      'fsync DIR',
      'unlink DIR/step-000000020.safetensors',
      'unlink DIR/step-000000010-best.safetensors',
    ]);
  });
});

describe.skipIf(missing !== undefined)(`a process that is killed at a system call${needs}`, () => {
  for (const call of ['openat', 'pwrite64', 'fsync', 'rename', 'unlink']) {
    test(
      `a process killed at any ${call} leaves the old checkpoints or the new ones, whole`,
      { timeout: SWEEP_MS },
      async () => {
        const numKills = await sweepKills(call, async (options, round) => {
          const directory = await oldCheckpoints(`${round}`);
          const result = await runTraced(
            programOf(directory, 'await save(40); await save(50, true);'),
            options,
          );
          const steps = await expectWhole(directory);
          const last = (await readLast(directory, silent))?.step ?? 0;
          // Checkpoints that were reported as saved are there, and the best one is the best of its moment.
          const safe = Math.max(30, ...result.stdout.trim().split('\n').map(Number));
          expect([30, 40, 50].filter((step) => step >= safe)).toContain(last);
          expect((await readBest(directory))?.step).toBe(steps.includes(50) ? 50 : 10);
          expect(steps.length).toBeLessThanOrEqual(4);
          return result;
        });
        expect(numKills).toBeGreaterThanOrEqual(2);
      },
    );
  }

  test(
    'a process killed at any rename during a rollback leaves a checkpoint to resume from',
    { timeout: SWEEP_MS },
    async () => {
      const numKills = await sweepKills('rename', async (options, round) => {
        const directory = await oldCheckpoints(`${round}`);
        const result = await runTraced(
          programOf(directory, 'await store.continueFrom(10); await save(15);'),
          options,
        );
        const [last] = await expectWhole(directory);
        const isBack = !fs.existsSync(path.join(directory, 'step-000000020.safetensors'));
        expect(isBack ? [10, 15] : [20, 30]).toContain(last);
        return result;
      });
      expect(numKills).toBe(3);
    },
  );
});

describe.skipIf(missing !== undefined)(`a disk that fails${needs}`, () => {
  const failing = async (work: string, injection: string): Promise<TracedResult & { directory: string }> => {
    const directory = await oldCheckpoints('failing');
    const options = ['-e', 'trace=fsync,pwrite64,rename,openat', '-e', `inject=${injection}`];
    return { directory, ...(await runTraced(programOf(directory, work), options)) };
  };
  /** Names of temporary files that were synced, in order. */
  const synced = (calls: readonly string[]): string[] =>
    calls.flatMap((line) => / fsync\(\d+<[^>]*(\.[0-9a-f]{12})\.tmp>/.exec(line)?.[1] ?? []);

  test('a disk that fails at the first fsync gets a new file instead of a second fsync of the old one', async () => {
    const { directory, exitCode, stdout, stderr, calls } = await failing(
      'await save(40);',
      'fsync:error=EIO:when=1',
    );
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '40\n' });
    expect(stderr).toBe('the checkpoint of step 40 is written again: EIO: i/o error, fsync\n');
    const files = synced(calls);
    expect(files).toHaveLength(2);
    expect(new Set(files).size).toBe(2);
    expect(await expectWhole(directory)).toEqual([40, 30, 10]);
  });

  test('a disk that fails at every fsync ends the run after three files and keeps the old checkpoints', async () => {
    const { directory, exitCode, stderr, calls } = await failing(
      'await save(40);',
      'fsync:error=EIO:when=1+',
    );
    expect(exitCode).toBe(4);
    expect(stderr).toContain(
      `E_CHECKPOINT_SAVE: ${directory}/step-000000040.safetensors: not written in 3 attempts (EIO: i/o error, fsync)`,
    );
    expect(new Set(synced(calls)).size).toBe(3);
    expect(synced(calls)).toHaveLength(3);
    expect(fs.readdirSync(directory).filter((name) => name.startsWith('.'))).toEqual([]);
    expect(await expectWhole(directory)).toEqual([30, 20, 10]);
  });

  for (const call of ['pwrite64', 'rename', 'openat']) {
    test(`a disk that fails once at ${call} costs one attempt`, async () => {
      // The store's directory is opened first, to look for stale files.
      const injection = call === 'openat' ? 'openat:error=EIO:when=2' : `${call}:error=EIO:when=1`;
      const { directory, exitCode, stdout, stderr } = await failing('await save(40);', injection);
      expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '40\n' });
      expect(stderr).toMatch(/^the checkpoint of step 40 is written again: EIO: i\/o error, \w+.*\n$/);
      expect(await expectWhole(directory)).toEqual([40, 30, 10]);
    });
  }
});

describe('the failpoints of a checkpoint', () => {
  for (const [stage, last] of [
    ['write', 35],
    ['fsync', 35],
    ['rename', 35],
    ['fsyncDirectory', 40],
  ] as const) {
    test(`a failpoint stands before each ${stage} of a checkpoint`, async () => {
      const directory = await oldCheckpoints('failpoint');
      const { imports, body } = programOf(directory, 'await save(35); await save(40);');
      const program = ['--input-type=module', '-e', `${imports}${body}`];
      const env = { PATH: process.env['PATH'], LOCKSTEP_FAILPOINT: `checkpoint.${stage}@step=40:kill` };
      const { signal, stdout } = spawnSync(process.execPath, program, {
        env,
        encoding: 'utf8',
        timeout: 20_000,
      });
      expect({ signal, stdout }).toEqual({ signal: 'SIGKILL', stdout: '35\n' });
      expect((await expectWhole(directory))[0]).toBe(last);
    });
  }
});
