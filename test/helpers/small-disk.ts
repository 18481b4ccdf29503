// A disk of a few megabytes that a test may fill: a tmpfs, only as root on Linux.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';

/** The requirement for small disks that this machine lacks; undefined if none. */
export function missingForDisks(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'root on Linux';
  const probe = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-probe-'));
  const isMounted = mount(probe, 2 ** 18) === '';
  if (isMounted) unmount(probe);
  fs.rmdirSync(probe);
  return isMounted ? undefined : 'the right to mount a tmpfs';
}

/** A small file system of its own. */
export class SmallDisk {
  /** The mount point. */
  readonly path: string;
  readonly #filler: string;

  /** Mounts the disk until the test is over; processes that the test starts later end earlier. */
  constructor(byteLength: number) {
    this.path = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-disk-'));
    this.#filler = path.join(this.path, 'filler');
    const trouble = mount(this.path, byteLength);
    if (trouble !== '') throw new Error(`cannot mount a tmpfs: ${trouble}`);
    onTestFinished(() => {
      unmount(this.path);
      fs.rmdirSync(this.path);
    });
  }

  /** Fills the free space, except for `spare` bytes. */
  fill(spare = 0): void {
    const { bavail, bsize } = fs.statfsSync(this.path);
    fs.writeFileSync(this.#filler, Buffer.alloc(Math.max(0, bavail * bsize - spare)));
  }

  /** Frees the filled space. */
  makeRoom(): void {
    fs.rmSync(this.#filler);
  }
}

/** The reason for a failure; empty if none. */
function mount(directory: string, byteLength: number): string {
  const { status, stderr, error } = spawnSync(
    'mount',
    ['-t', 'tmpfs', '-o', `size=${byteLength}`, 'none', directory],
    { encoding: 'utf8' },
  );
  return status === 0 ? '' : (error?.message ?? stderr.trim());
}

/** Unmounts at once, or as soon as the last dying process has released its files. */
function unmount(directory: string): void {
  spawnSync('umount', ['--lazy', directory]);
}
