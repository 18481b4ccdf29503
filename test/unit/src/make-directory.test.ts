import fs from 'node:fs';
import path from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { makeDirectory } from '../../../src/durable-write.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';

let root: string;

beforeEach(() => {
  root = temporaryDirectory();
});

it('a directory is made with those above it that are missing, which are told from those that are there', async () => {
  const [outer, inner] = [path.join(root, 'a'), path.join(root, 'a/b')];
  expect(await makeDirectory(inner)).toEqual([outer, inner]);
  expect(await makeDirectory(inner)).toEqual([]);
  fs.symlinkSync('a', path.join(root, 'link'));
  expect(await makeDirectory(path.join(root, 'link/c'))).toEqual([path.join(root, 'link/c')]);
});

it('many may make the same directory at once', async () => {
  const directory = path.join(root, 'a/b/c');
  const made = (await Promise.all(Array.from({ length: 20 }, () => makeDirectory(directory)))).flat();
  expect(made.toSorted()).toEqual(['a', 'a/b', 'a/b/c'].map((name) => path.join(root, name)));
});

it('what no directory can be made of is the system’s error, and not waited for', async () => {
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
