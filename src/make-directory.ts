// Makes a directory and those above it. The runtime's own recursive mkdir tries for ever where the parent exists and
// nothing can be made in it, as in /proc.
import fs from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode } from './errors.ts';

/** Makes what is missing of a directory's path; returns what it made, the outermost first. Throws the system's error. */
export async function makeDirectory(directory: string): Promise<string[]> {
  const parent = path.dirname(directory);
  try {
    return await makeOne(directory);
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT' || parent === directory) throw error;
  }
  const above = await makeDirectory(parent);
  return [...above, ...(await makeOne(directory))];
}

/** Returns the directory, or nothing if it is there already. */
async function makeOne(directory: string): Promise<string[]> {
  try {
    await fs.mkdir(directory);
    return [directory];
  } catch (error) {
    const stats = await fs.stat(directory).catch(() => undefined);
    if (stats?.isDirectory()) return [];
    throw error;
  }
}
