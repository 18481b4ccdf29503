import fs from 'node:fs';
import path from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { makeDirectory } from '../../../src/durable-write.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';

let root: string;

beforeEach(() => {
  root = temporaryDirectory();
});

it('makeDirectory makes a directory with its missing parents, and returns only those that it made', async () => {
  const [outer, inner] = [path.join(root, 'a'), path.join(root, 'a/b')];
  expect(await makeDirectory(inner)).toEqual([outer, inner]);
  expect(await makeDirectory(inner)).toEqual([]);
  fs.symlinkSync('a', path.join(root, 'link'));
  expect(await makeDirectory(path.join(root, 'link/c'))).toEqual([path.join(root, 'link/c')]);
});

it('makeDirectory may make the same directory many times at once', async () => {
  const directory = path.join(root, 'a/b/c');
  const made = (await Promise.all(Array.from({ length: 20 }, () => makeDirectory(directory)))).flat();
  expect(made.toSorted()).toEqual(['a', 'a/b', 'a/b/c'].map((name) => path.join(root, name)));
});

it('makeDirectory fails with the system’s error, without a delay, if the directory cannot be made', async () => {
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
