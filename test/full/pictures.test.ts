// A model of pictures in folders, from training to prediction, by the command line.
import fs from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { stringify } from 'yaml';
import { expect, it } from 'vitest';
import { runCli } from '../helpers/cli.ts';
import { readSummary } from '../helpers/run-records.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const SIZE = { height: 6, width: 8, channels: 3 } as const;

/** Writes pictures that are bright on their left, or on their right. */
async function writePictures(folder: string, count: number): Promise<void> {
  for (const side of ['left', 'right']) {
    fs.mkdirSync(path.join(folder, side), { recursive: true });
    for (let index = 0; index < count; index++) {
      const values = Uint8Array.from({ length: 6 * 8 * 3 }, (_, at) => {
        const isLeft = Math.floor(at / 3) % 8 < 4;
        return (isLeft === (side === 'left') ? 180 : 40) + ((at * 7 + index * 13) % 60);
      });
      await sharp(values, { raw: SIZE })
        .jpeg()
        .toFile(path.join(folder, side, `${index}.jpg`));
    }
  }
}

it('pictures in folders are trained on, evaluated and predicted, to the same bits with workers', async () => {
  const cwd = temporaryDirectory();
  await writePictures(path.join(cwd, 'photos'), 40);
  await writePictures(path.join(cwd, 'new'), 3);
  const layers = [{ kind: 'flatten' }, { kind: 'dense', units: 2 }];
  const data = { train: { folder: 'photos' }, imageSize: [3, 4], split: { stratify: true } };
  const config = {
    name: 'photos',
    data,
    model: { layers },
    loss: 'crossEntropy',
    batchSize: 8,
    plots: false,
  };
  fs.writeFileSync(path.join(cwd, 'photos.yaml'), stringify(config));
  const cli = { cwd, env: { LOCKSTEP_CACHE_DIR: path.join(cwd, 'cache') } };
  for (const workers of ['0', '2']) {
    const args = ['train', 'photos.yaml', '--workers', workers, '--run-dir', `run-${workers}`];
    expect(await runCli(args, cli)).toMatchObject({ exitCode: 0 });
  }
  const [alone, together] = ['run-0', 'run-2'].map((run) => readSummary(path.join(cwd, run)));
  expect(together?.weightsSha256).toBe(alone?.weightsSha256);
  expect(alone?.test).toMatchObject({ accuracy: 1 });
  const evaluated = await runCli(['evaluate', 'run-0', '--json'], cli);
  expect((JSON.parse(evaluated.stdout) as { loss: number }).loss).toBe(alone?.test?.loss);
  const other = await runCli(['evaluate', 'run-0', '--data', 'new', '--json'], cli);
  expect(JSON.parse(other.stdout)).toMatchObject({ accuracy: 1 });
  const { stdout } = await runCli(['predict', 'run-0', 'new'], cli);
  const classes = stdout
    .trim()
    .split('\n')
    .map((line) => line.split(',')[0]);
  expect(classes).toEqual(['class', 'left', 'left', 'left', 'right', 'right', 'right']);
});
