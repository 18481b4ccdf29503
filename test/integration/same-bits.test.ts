// The promise of the whole: one config gives the same bits, whoever computes them.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT, runCli } from '../helpers/cli.ts';
import { readBits, readSummary } from '../helpers/run-records.ts';
import { tableRun, temporaryDirectory } from '../helpers/table-run.ts';

type Bits = ReturnType<typeof readBits>;

const IN_PROCESS = '--workers 0';

/** Trains once for each line of flags, two at a time; gives the bits of each. */
async function trainWith(
  args: readonly string[],
  cwd: string,
  workforces: readonly string[],
): Promise<Map<string, Bits>> {
  const bits = new Map<string, Bits>();
  const waiting = [...workforces];
  const trainNext = async (): Promise<void> => {
    for (let flags = waiting.shift(); flags !== undefined; flags = waiting.shift()) {
      const directory = runDirectory(cwd, flags);
      const all = ['train', ...args, ...flags.split(' '), '--run-dir', directory];
      expect(await runCli(all, { cwd })).toMatchObject({ exitCode: 0, stdout: '' });
      bits.set(flags, readBits(directory));
    }
  };
  await Promise.all([trainNext(), trainNext()]);
  return bits;
}

function runDirectory(cwd: string, flags: string): string {
  return path.join(cwd, flags.replaceAll(' ', ''));
}

/** Trains in one process and with each other workforce, and compares. */
async function expectSameBits(args: readonly string[], cwd: string, workforces: readonly string[]): Promise<Bits> {
  const all = await trainWith(args, cwd, [IN_PROCESS, ...workforces]);
  const expected = all.get(IN_PROCESS) as Bits;
  expect(expected.weightsSha256).toMatch(/^[0-9a-f]{64}$/);
  for (const [flags, bits] of all) expect({ flags, ...bits }).toEqual({ flags, ...expected });
  return expected;
}

describe('weights, losses and metrics are the same bits', () => {
  it('for any number of workers and threads, of a table of numbers and texts', async () => {
    const cwd = temporaryDirectory();
    const args = [path.join(ROOT, 'examples/house/house.yaml'), '--set', 'epochs=3'];
    const workforces = ['1', '2', '3', '5', '1 --threads 2', '2 --threads 2'].map((flags) => `--workers ${flags}`);
    const { metrics } = await expectSameBits(args, cwd, workforces);
    expect(workforces.map((flags) => readSummary(runDirectory(cwd, flags)).workers)).toEqual([1, 2, 3, 5, 1, 2]);
    expect(metrics.at(-1)).toMatchObject({ epoch: 3, _step: 240 });
    expect(metrics.at(-1)?.['val/r2']).toBeGreaterThan(0.6);
  });

  it('of images, where batches and shards differ in size', async () => {
    // 9,000 rows: 22 batches of 400 and one of 200, in shards of 57 or 58, and of 28 or 29.
    const layers = '[{kind: dense, units: 32, activation: relu}, {kind: dense, units: 10}]';
    const settings = ['epochs=1', `model.layers=${layers}`, 'batchSize=400', 'shards=7'];
    const args = [path.join(ROOT, 'examples/fashion/fashion.yaml'), ...settings.flatMap((text) => ['--set', text])];
    const { metrics } = await expectSameBits(args, temporaryDirectory(), ['--workers 2', '--workers 3']);
    expect(metrics.at(-1)).toMatchObject({ epoch: 1, _step: 23 });
    expect(metrics.at(-1)?.['val/accuracy']).toBeGreaterThan(0.6);
  });

  it('with more workers than shards', async () => {
    await expectSameBits(['table.yaml'], tableRun({ shards: 2 }), ['--workers 5']);
  });

  it('where a batch has fewer samples than shards', async () => {
    const cwd = tableRun({ batchSize: 9, shards: 16, epochs: 1 });
    await expectSameBits(['table.yaml'], cwd, ['--workers 2']);
  });
});
