// Clocks that jump: the time of day of a process, as a file says it, by libfaketime.
import fs from 'node:fs';
import path from 'node:path';
import { temporaryDirectory } from './temporary-directory.ts';

const LIBRARY = ['x86_64-linux-gnu', 'aarch64-linux-gnu']
  .map((platform) => `/usr/lib/${platform}/faketime/libfaketimeMT.so.1`)
  .find((file) => fs.existsSync(file));

/** What is missing for clocks that jump, for the name of a test; empty where nothing is. */
export const MISSING_FAKETIME = LIBRARY === undefined ? ' (not here: faketime missing)' : '';

/** The environment of processes whose time of day follows `file`, such as `-1h`; their monotonic clock does not. */
export function fakeTime(): { readonly file: string; readonly env: Readonly<Record<string, string>> } {
  const file = path.join(temporaryDirectory(), 'time');
  fs.writeFileSync(file, '+0');
  const env = {
    LD_PRELOAD: LIBRARY as string,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
  };
  return { file, env };
}
