// Names of directories that a run gets by itself, `runs/<time>-<name>`, and the link `runs/latest`
// to the newest of them.
import { existsSync, lstatSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode } from '../../src/errors.ts';
import { makeDirectory } from '../../src/durable-write.ts';

/** Time at the beginning of a directory's name. */
const TIMESTAMP = /^\d{8}-\d{6}(?=-)/;

/** The name of a run's directory: local time as YYYYMMDD-HHMMSS, then the name of the run. */
export function directoryName(runName: string, date: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  const time = `${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
  return `${day}-${time}-${runName}`;
}

/**
 * Makes the directory, and returns its path: two runs of one name may start within a second, and the
 * later ones get -2, -3, ... Adds the directories that it makes to `made`.
 */
export async function makeFreshDirectory(wanted: string, made: string[]): Promise<string> {
  made.push(...(await makeDirectory(path.dirname(wanted))));
  for (let attempt = 1; ; attempt++) {
    const candidate = attempt === 1 ? wanted : `${wanted}-${attempt}`;
    try {
      await fs.mkdir(candidate);
      made.push(candidate);
      return candidate;
    } catch (error) {
      if (systemErrorCode(error) !== 'EEXIST' || attempt === 1000) throw error;
    }
  }
}

/**
 * Makes `runs/latest`, a convenience: a file system without links is no error, and a file that is
 * not a link stays.
 */
export function linkLatest(parent: string, name: string, warn: (message: string) => void): void {
  const link = path.join(parent, 'latest');
  const temporary = path.join(parent, `.latest.${process.pid}`);
  try {
    if (leadsToLater(link, name)) return;
    symlinkSync(name, temporary, 'dir');
    renameSync(temporary, link);
  } catch {
    rmSync(temporary, { force: true });
    const found = lstatSync(link, { throwIfNoEntry: false });
    if (found && !found.isSymbolicLink()) warn(`${link} is not a link, so it does not lead to this run`);
  }
}

/** True if the link leads to an existing run that started later than the one of this name. */
function leadsToLater(link: string, name: string): boolean {
  if (!existsSync(link)) return false;
  const [current, own] = [readlinkSync(link), name].map((target) => TIMESTAMP.exec(target)?.[0] ?? '');
  return (current as string) > (own as string);
}
