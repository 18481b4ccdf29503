// A file for rows that do not fit in memory, where the folder is on a file server.
import fs from 'node:fs';
import { expect, it, onTestFinished, vi } from 'vitest';
import { ScratchFile } from '../../../../../src/data/dataset/scratch-file.ts';
import { temporaryDirectory } from '../../../../helpers/temporary-directory.ts';

it('a file server that keeps the folder of an open file is no failure', async () => {
  const cache = temporaryDirectory();
  vi.stubEnv('LOCKSTEP_CACHE_DIR', cache);
  const spy = vi.spyOn(fs, 'rmSync').mockImplementationOnce(() => {
    throw Object.assign(new Error('ENOTEMPTY: directory not empty, rmdir'), { code: 'ENOTEMPTY' });
  });
  onTestFinished(() => {
    spy.mockRestore();
    vi.unstubAllEnvs();
  });
  const file = await ScratchFile.create();
  file.append(Uint8Array.of(1, 2, 3));
  const out = new Uint8Array(2);
  file.read(out, 1);
  expect([...out]).toEqual([2, 3]);
});
