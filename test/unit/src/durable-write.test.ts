// Durable writes: the old file or the new one, in slices, with nothing left beside it.
import fs from 'node:fs';
import promises from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  makeDirectory,
  removeStaleTemporaries,
  SLICE_BYTES,
  sliceBytes,
  writeFileDurably,
} from '../../../src/durable-write.ts';
import type { FileSlice, WriteStage } from '../../../src/durable-write.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';

let root: string;

beforeEach(() => {
  root = temporaryDirectory();
});

describe('writeFileDurably', () => {
  test('writeFileDurably replaces a whole file and leaves nothing beside it', async () => {
    const file = path.join(root, 'weights');
    await writeFileDurably(file, 'old, and longer');
    await writeFileDurably(file, Uint8Array.of(1, 2, 3));
    expect([...fs.readFileSync(file)]).toEqual([1, 2, 3]);
    expect(fs.readdirSync(root)).toEqual(['weights']);
    expect(fs.statSync(file).mode & 0o777).toBe(0o644 & ~process.umask());
  });

  test('writeFileDurably gives a file the mode that is asked for', async () => {
    const file = path.join(root, 'token');
    await writeFileDurably(file, 'secret', { mode: 0o600 });
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
  });

  test('writeFileDurably keeps the old file and no temporary one when it fails', async () => {
    const target = path.join(root, 'taken');
    fs.mkdirSync(path.join(target, 'full'), { recursive: true });
    await expect(writeFileDurably(target, 'x')).rejects.toMatchObject({ syscall: 'rename' });
    expect(fs.readdirSync(root)).toEqual(['taken']);
  });

  test('writeFileDurably asks for a slice once the previous one is in the file, and lets a later one overwrite it', async () => {
    const sizes: number[] = [];
    const sizeNow = (): void => {
      const [name = ''] = fs.readdirSync(root);
      sizes.push(fs.statSync(path.join(root, name)).size);
    };
    function* slices(): Generator<FileSlice, void, void> {
      yield { position: 0, bytes: Buffer.from('....') };
      sizeNow();
      yield { position: 4, bytes: Buffer.from('end') };
      sizeNow();
      yield { position: 0, bytes: Buffer.from('both') };
      sizeNow();
    }
    await writeFileDurably(path.join(root, 'file'), slices());
    expect(fs.readFileSync(path.join(root, 'file'), 'utf8')).toBe('bothend');
    expect(sizes).toEqual([4, 7, 7]);
  });

  test('writeFileDurably lets other work run between the slices of a big file', async () => {
    let numTurns = 0;
    const count = setInterval(() => numTurns++, 0);
    const bytes = new Uint8Array(40 * SLICE_BYTES + 1).fill(7);
    await writeFileDurably(path.join(root, 'big'), bytes);
    clearInterval(count);
    expect(Buffer.compare(fs.readFileSync(path.join(root, 'big')), bytes)).toBe(0);
    expect(numTurns).toBeGreaterThan(1);
  });

  test('writeFileDurably reports its stages in order', async () => {
    const stages: WriteStage[] = [];
    await writeFileDurably(path.join(root, 'file'), 'x', { onStage: (stage) => stages.push(stage) });
    expect(stages).toEqual(['write', 'fsync', 'rename', 'fsyncDirectory']);
  });

  for (const [failing, content] of [
    ['write', 'old'],
    ['fsync', 'old'],
    ['rename', 'old'],
    ['fsyncDirectory', 'new'],
  ] as const) {
    test(`a failure at ${failing} leaves the ${content} file in place and nothing beside it`, async () => {
      const file = path.join(root, 'file');
      await writeFileDurably(file, 'old');
      const onStage = (stage: WriteStage): void => {
        if (stage === failing) throw new Error(`no ${stage}`);
      };
      await expect(writeFileDurably(file, 'new', { onStage })).rejects.toThrow(`no ${failing}`);
      expect(fs.readFileSync(file, 'utf8')).toBe(content);
      expect(fs.readdirSync(root)).toEqual(['file']);
    });
  }
});

test('bytes are cut into slices that join up', () => {
  const bytes = new Uint8Array(2 * SLICE_BYTES + 5);
  const slices = [...sliceBytes(bytes, 100)].map((slice) => [slice.position, slice.bytes.byteLength]);
  expect(slices).toEqual([
    [100, SLICE_BYTES],
    [100 + SLICE_BYTES, SLICE_BYTES],
    [100 + 2 * SLICE_BYTES, 5],
  ]);
  expect([...sliceBytes('')]).toEqual([]);
});

test('stale temporary files are removed, and files with similar names stay', async () => {
  fs.writeFileSync(path.join(root, '.weights.0123456789ab.tmp'), '');
  fs.writeFileSync(path.join(root, 'notes.tmp'), '');
  await removeStaleTemporaries(root);
  expect(fs.readdirSync(root)).toEqual(['notes.tmp']);
});

test('makeDirectory makes a directory with its missing parents, and returns only those that it made', async () => {
  const [outer, inner] = [path.join(root, 'a'), path.join(root, 'a/b')];
  expect(await makeDirectory(inner)).toEqual([outer, inner]);
  expect(await makeDirectory(inner)).toEqual([]);
  fs.symlinkSync('a', path.join(root, 'link'));
  expect(await makeDirectory(path.join(root, 'link/c'))).toEqual([path.join(root, 'link/c')]);
});

test('makeDirectory may make the same directory many times at once', async () => {
  const directory = path.join(root, 'a/b/c');
  const made = (await Promise.all(Array.from({ length: 20 }, () => makeDirectory(directory)))).flat();
  expect(made.toSorted()).toEqual(['a', 'a/b', 'a/b/c'].map((name) => path.join(root, name)));
});

test('makeDirectory fails with the system’s error, without a delay, if the directory cannot be made', async () => {
  fs.writeFileSync(path.join(root, 'file'), '');
  fs.symlinkSync('nowhere', path.join(root, 'dangling'));
  fs.symlinkSync('loop', path.join(root, 'loop'));
  const codeOf = async (directory: string): Promise<unknown> =>
    makeDirectory(directory).catch((error: NodeJS.ErrnoException) => error.code);
  expect(await codeOf(path.join(root, 'file'))).toBe('EEXIST');
  expect(await codeOf(path.join(root, 'file/a/b'))).toBe('ENOTDIR');
  expect(await codeOf(path.join(root, 'dangling'))).toBe('EEXIST');
  expect(await codeOf(path.join(root, 'loop/a'))).toBe('ELOOP');
  expect(await codeOf(path.join(root, 'x'.repeat(300), 'a'))).toBe('ENAMETOOLONG');
  if (process.platform === 'linux') expect(await codeOf('/proc/a/b')).toBe('ENOENT');
});

describe('a file server whose answer was lost', () => {
  /** Makes the next rename report ENOENT, as the same request does that reaches a server twice. */
  function loseAnswer({ isDone }: { readonly isDone: boolean }): void {
    const { rename } = promises;
    const spy = vi.spyOn(promises, 'rename').mockImplementationOnce(async (from, to) => {
      if (isDone) await rename(from, to);
      throw Object.assign(new Error('ENOENT: no such file or directory, rename'), { code: 'ENOENT' });
    });
    onTestFinished(() => spy.mockRestore());
  }

  test('a rename that was made, and then reported as failed, counts as made', async () => {
    const file = path.join(root, 'weights');
    fs.writeFileSync(file, 'old');
    loseAnswer({ isDone: true });
    await writeFileDurably(file, 'new');
    expect(fs.readFileSync(file, 'utf8')).toBe('new');
    expect(fs.readdirSync(root)).toEqual(['weights']);
  });

  test('a rename that was not made fails, though a file of that name is there', async () => {
    const file = path.join(root, 'weights');
    fs.writeFileSync(file, 'old');
    loseAnswer({ isDone: false });
    await expect(writeFileDurably(file, 'new')).rejects.toMatchObject({ code: 'ENOENT' });
    expect(fs.readFileSync(file, 'utf8')).toBe('old');
  });

  test('a file system that has no sync of directories takes durable writes', async () => {
    const { open } = promises;
    const spy = vi.spyOn(promises, 'open').mockImplementation(async (name, ...rest) => {
      const handle = await open(name, ...rest);
      if (name === root)
        handle.sync = () => Promise.reject(Object.assign(new Error('EINVAL, fsync'), { code: 'EINVAL' }));
      return handle;
    });
    onTestFinished(() => spy.mockRestore());
    await writeFileDurably(path.join(root, 'weights'), 'new');
    expect(fs.readFileSync(path.join(root, 'weights'), 'utf8')).toBe('new');
  });
});
