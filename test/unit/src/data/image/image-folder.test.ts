// Labelled pictures in folders: their classes, their form, and the cache of decoded ones.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import { configOf, errorOf, load, modelOf, NO_SPLIT } from '../fixtures.ts';
import { temporaryDirectory } from '../../../../helpers/temporary-directory.ts';

interface Picture {
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3 | 4;
  readonly values: readonly number[];
}

function grey(...values: number[]): Picture {
  return { height: 1, width: values.length, channels: 1, values };
}

async function write(file: string, { values, ...raw }: Picture): Promise<void> {
  fs.mkdirSync(dirname(file), { recursive: true });
  const image = sharp(Uint8Array.from(values), { raw });
  await (raw.channels === 1 ? image.toColourspace('b-w') : image).toFile(file);
}

/** A new folder with these pictures by their paths. */
async function folderOf(pictures: Readonly<Record<string, Picture>>): Promise<string> {
  const folder = temporaryDirectory();
  for (const [name, picture] of Object.entries(pictures)) await write(join(folder, name), picture);
  return folder;
}

function loadFolder(folder: string, data: Partial<ConfigInput['data']> = {}) {
  const train = { folder: join(folder, 'train') };
  const rest = { loss: 'crossEntropy', model: modelOf(2) } as const;
  return load(configOf({ train, ...NO_SPLIT, ...data }, rest));
}

const TWO_CLASSES = {
  'train/dog/1.png': grey(1, 2),
  'train/cat/2.png': grey(3, 4),
  'train/cat/1.png': grey(5, 6),
};

let cache: string;
beforeEach(() => {
  cache = temporaryDirectory();
  vi.stubEnv('LOCKSTEP_CACHE_DIR', cache);
  onTestFinished(() => void vi.unstubAllEnvs());
});

/** The pixels of all images, and the label of each. */
function contentOf({ dataset: { blob, layout } }: Awaited<ReturnType<typeof load>>) {
  const size = layout.featureShape.reduce((product, side) => product * side, layout.numRows);
  const labels = new Uint32Array(blob.buffer.slice(blob.byteLength - 4 * layout.numRows));
  return { shape: layout.featureShape, pixels: [...blob.subarray(0, size)], labels: [...labels] };
}

describe('a folder of pictures', () => {
  it('each folder in it is a class, and its pictures are read in the order of their paths', async () => {
    const loaded = await loadFolder(await folderOf({ ...TWO_CLASSES, 'train/dog/deeper/0.png': grey(7, 8) }));
    expect(contentOf(loaded)).toEqual({
      shape: [1, 1, 2],
      pixels: [5, 6, 3, 4, 1, 2, 7, 8],
      labels: [0, 0, 1, 1],
    });
    expect(loaded.classNames).toEqual(['cat', 'dog']);
    expect(loaded.featureNames).toEqual(['pixel[0,0,0]', 'pixel[0,0,1]']);
  });

  it('pictures that are streamed give the hash that they give in memory', async () => {
    const folder = await folderOf({ ...TWO_CLASSES, 'train/dog/deeper/0.png': grey(7, 8) });
    const streamed = await loadFolder(folder, { stream: true });
    expect(streamed.dataset.file?.byteLength).toBe(8);
    expect(streamed.dataset.sha256).toBe((await loadFolder(folder)).dataset.sha256);
  });

  it('colours are channels, before height and width, and what is transparent keeps its colour', async () => {
    const colours = { height: 1, width: 2, channels: 3, values: [1, 2, 3, 4, 5, 6] } as const;
    const transparent = { ...colours, channels: 4, values: [7, 8, 9, 255, 10, 11, 12, 0] } as const;
    const loaded = await loadFolder(
      await folderOf({
        'train/a/1.png': colours,
        'train/a/2.webp': grey(9, 9),
        'train/b/1.png': transparent,
      }),
    );
    expect(contentOf(loaded)).toMatchObject({ shape: [3, 1, 2] });
    expect(contentOf(loaded).pixels.slice(0, 6)).toEqual([1, 4, 2, 5, 3, 6]);
    expect(contentOf(loaded).pixels.slice(12)).toEqual([7, 10, 8, 11, 9, 12]);
  });

  it('pictures are brought to the size and the channels that are asked for', async () => {
    const folder = await folderOf({ 'train/a/1.png': grey(10, 10, 10, 10), 'train/b/1.png': grey(20, 20) });
    const loaded = await loadFolder(folder, { imageSize: [2, 3], channels: 3 });
    expect(contentOf(loaded)).toMatchObject({
      shape: [3, 2, 3],
      pixels: [...Array<number>(18).fill(10), ...Array<number>(18).fill(20)],
    });
  });

  it('the labels of other splits count by the classes of training', async () => {
    const folder = await folderOf({ ...TWO_CLASSES, 'test/dog/1.png': grey(9, 9) });
    const loaded = await loadFolder(folder, {
      test: { folder: join(folder, 'test') },
      split: { validation: 0 },
    });
    expect(contentOf(loaded).labels).toEqual([0, 0, 1, 1]);
    expect(loaded.splits.test).toEqual(Uint32Array.of(3));
    const other = await folderOf({ ...TWO_CLASSES, 'test/cow/1.png': grey(9, 9) });
    const test = { folder: join(other, 'test') };
    expect(await errorOf(loadFolder(other, { test, split: { validation: 0 } }), other)).toBe(
      'error[E_DATA_LABEL]: test/cow is a class that training lacks: it has cat, dog',
    );
  });

  it('links to classes and to pictures are followed, and no folder is read twice', async () => {
    const folder = await folderOf({ ...TWO_CLASSES, 'elsewhere/owl/1.png': grey(7, 8) });
    fs.symlinkSync(join(folder, 'elsewhere/owl'), join(folder, 'train/owl'));
    fs.symlinkSync(join(folder, 'elsewhere/owl/1.png'), join(folder, 'train/dog/2.png'));
    fs.symlinkSync(join(folder, 'train/cat'), join(folder, 'train/cat/again'));
    const loaded = await loadFolder(folder);
    expect(contentOf(loaded)).toMatchObject({
      pixels: [5, 6, 3, 4, 1, 2, 7, 8, 7, 8],
      labels: [0, 0, 1, 1, 2],
    });
  });

  it('a picture has the size that it has once turned as its camera says', async () => {
    const folder = await folderOf({ 'train/a/1.png': { height: 2, width: 1, channels: 1, values: [1, 2] } });
    fs.mkdirSync(join(folder, 'train/b'));
    const raw = { height: 1, width: 2, channels: 1 } as const;
    const turned = sharp(Uint8Array.of(3, 4), { raw }).toColourspace('b-w').withMetadata({ orientation: 6 });
    await turned.png().toFile(join(folder, 'train/b/1.png'));
    expect(contentOf(await loadFolder(folder, { channels: 1 }))).toMatchObject({
      shape: [1, 2, 1],
      pixels: [1, 2, 3, 4],
    });
  });

  it('files that are no pictures by their names are left out with a warning', async () => {
    const folder = await folderOf(TWO_CLASSES);
    fs.writeFileSync(join(folder, 'train/cat/notes.txt'), '');
    fs.writeFileSync(join(folder, 'train/cat/.DS_Store'), '');
    const { warnings } = await loadFolder(folder);
    expect(warnings).toEqual([`${folder}/train: 1 file left out, whose names are not those of images`]);
  });

  it.each<[string, Readonly<Record<string, Picture>>, string]>([
    [
      'sizes differ',
      { 'train/a/1.png': grey(1, 2), 'train/b/1.png': grey(1) },
      'error[E_DATA_SHAPE]: train/b/1.png is 1x1, train/a/1.png is 1x2\n  help: set data.imageSize, such as [64, 64], to which all are brought',
    ],
    [
      'there are no classes',
      { 'train/1.png': grey(1) },
      'error[E_DATA_FORMAT]: train has no folders of classes\n  help: put the images of each class into a folder of its own, such as train/cat',
    ],
    [
      'there is no folder',
      { 'other/a/1.png': grey(1) },
      'error[E_DATA_UNREADABLE]: cannot read train: no such folder',
    ],
    [
      'there is only one class',
      { 'train/a/1.png': grey(1) },
      'error[E_DATA_ONE_CLASS]: every training row is class "a"; classification needs at least two',
    ],
  ])('a folder is refused where %s', async (_, pictures, message) => {
    const folder = await folderOf(pictures);
    expect(await errorOf(loadFolder(folder), folder)).toBe(message);
  });

  it('a class without pictures, and a picture that is damaged, are named', async () => {
    const folder = await folderOf(TWO_CLASSES);
    fs.mkdirSync(join(folder, 'train/eel'));
    expect(await errorOf(loadFolder(folder), folder)).toMatch(
      /^error\[E_DATA_EMPTY\]: train\/eel has no images \(0 other files\)\n/,
    );
    fs.writeFileSync(join(folder, 'train/eel/1.jpg'), 'no picture');
    expect(await errorOf(loadFolder(folder), folder)).toMatch(
      /^error\[E_DATA_IMAGE\]: train\/eel\/1\.jpg cannot be read as an image: .+\n {2}help: replace it, or move it elsewhere$/,
    );
  });
});

describe('the cache of decoded pictures', () => {
  const entryOf = (): string => join(cache, 'images', fs.readdirSync(join(cache, 'images'))[0] as string);

  /** Replaces the pixels of the entry, and their hash. */
  const replaceEntry = (pixels: Buffer): void =>
    fs.writeFileSync(entryOf(), Buffer.concat([pixels, createHash('sha256').update(pixels).digest()]));

  it('pictures are decoded once, and again after they, their entry or the setting changed', async () => {
    const folder = await folderOf(TWO_CLASSES);
    const decoded = contentOf(await loadFolder(folder)).pixels;
    const other = Buffer.from([9, 9, 8, 8, 7, 7]);
    replaceEntry(other);
    expect(contentOf(await loadFolder(folder)).pixels).toEqual([...other]);
    vi.stubEnv('LOCKSTEP_CACHE_DIR', '');
    expect(contentOf(await loadFolder(folder)).pixels).toEqual(decoded);
    vi.stubEnv('LOCKSTEP_CACHE_DIR', cache);
    fs.appendFileSync(entryOf(), 'x');
    expect(contentOf(await loadFolder(folder)).pixels).toEqual(decoded);
    replaceEntry(other);
    const picture = join(folder, 'train/cat/1.png');
    const { atime, mtime } = fs.statSync(picture);
    await write(picture, grey(50, 60));
    fs.utimesSync(picture, atime, mtime);
    expect(contentOf(await loadFolder(folder)).pixels).toEqual([50, 60, ...decoded.slice(2)]);
  });

  it('a cache that cannot be written changes nothing', async () => {
    vi.stubEnv('LOCKSTEP_CACHE_DIR', '/dev/null/nothing');
    expect(contentOf(await loadFolder(await folderOf(TWO_CLASSES))).labels).toEqual([0, 0, 1]);
  });
});
