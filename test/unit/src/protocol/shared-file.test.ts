// Files that two processes have open: what may be opened, what can be named in them, and what happens where
// they end or memory does.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { copyBody, SharedFile } from '../../../../src/protocol/shared-file.ts';
import { missingForDisks, SmallDisk } from '../../../helpers/small-disk.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const BYTES = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const disks = missingForDisks();

function create(byteLength: number, directory?: string): SharedFile {
  const file = SharedFile.create(byteLength, directory);
  onTestFinished(() => file.close());
  return file;
}

function openAgain(file: SharedFile, access: 'read' | 'write'): SharedFile {
  const again = SharedFile.open(process.pid, file.descriptor, access);
  onTestFinished(() => again.close());
  return again;
}

function descriptorOf(name: string, flags: number): number {
  const descriptor = fs.openSync(name, flags);
  onTestFinished(() => fs.closeSync(descriptor));
  return descriptor;
}

describe.skipIf(process.platform !== 'linux')('a shared file', () => {
  it('a body that one side writes is what the other copies, into memory that threads share too', () => {
    const file = create(4096);
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
    const target = new Uint8Array(memory.buffer, 64, 8);
    expect(file.write(BYTES, 100)).toBe(true);
    copyBody(openAgain(file, 'read').bodyAt({ offset: 100, length: 8 }), target);
    expect([...target]).toEqual([...BYTES]);
  });

  it('a file has no name, and only its owner may open it', () => {
    const { descriptor } = create(64);
    expect(fs.readlinkSync(`/proc/self/fd/${descriptor}`)).toMatch(/^\/dev\/shm\/#\d+ \(deleted\)$/);
    const { mode, nlink } = fs.fstatSync(descriptor);
    expect({ permissions: mode & 0o777, nlink }).toEqual({ permissions: 0o600, nlink: 0 });
  });

  it('a file that was opened to be read cannot be written', () => {
    const file = create(64);
    expect(openAgain(file, 'read').write(BYTES, 0)).toBe(false);
    expect(openAgain(file, 'write').write(BYTES, 0)).toBe(true);
  });

  it.each([
    ['begins beyond the end', { offset: 4096, length: 4 }],
    ['ends beyond the end', { offset: 4092, length: 8 }],
    ['begins within a number', { offset: 2, length: 4 }],
    ['is as far away as a header can say', { offset: Number.MAX_SAFE_INTEGER, length: 4 }],
  ])('a body that %s is refused', (_, extent) => {
    const what = `${extent.length} bytes at ${extent.offset} of a file of 4096 cannot be a body`;
    expect(() => create(4096).bodyAt(extent)).toThrow(what);
  });

  it('what a file has lost stays as it was in the copy', () => {
    const file = create(4096);
    file.write(BYTES, 8);
    fs.ftruncateSync(file.descriptor, 12);
    const target = new Uint8Array(8).fill(9);
    copyBody(file.bodyAt({ offset: 8, length: 8 }), target);
    expect([...target]).toEqual([1, 2, 3, 4, 9, 9, 9, 9]);
  });

  it('a file that is closed takes and gives nothing', () => {
    const file = create(64);
    const body = file.bodyAt({ offset: 0, length: 8 });
    file.write(BYTES, 0);
    file.close();
    file.close();
    const target = new Uint8Array(8);
    copyBody(body, target);
    expect([...target]).toEqual([...new Uint8Array(8)]);
    expect(file.write(BYTES, 0)).toBe(false);
  });

  it('only regular files are opened', () => {
    const { O_RDONLY, O_RDWR } = fs.constants;
    const directory = temporaryDirectory();
    const child = spawn('sleep', ['60'], { stdio: ['pipe', 'ignore', 'ignore'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    const irregular = [descriptorOf(directory, O_RDONLY), descriptorOf('/dev/zero', O_RDWR)];
    for (const descriptor of irregular) {
      expect(() => SharedFile.open(process.pid, descriptor, 'read')).toThrow('it is not a file');
    }
    // The standard input of another process: a socket.
    expect(() => SharedFile.open(child.pid as number, 0, 'write')).toThrow('it is not a file');
  });

  it('a descriptor or a process that there is not cannot be opened', () => {
    expect(() => SharedFile.open(process.pid, 999_999, 'read')).toThrow('ENOENT');
    expect(() => SharedFile.open(2 ** 31 - 1, 0, 'read')).toThrow('ENOENT');
  });

  it('a directory on a disk, or none at all, holds no shared file', () => {
    expect(() => create(64, '/proc')).toThrow('/proc is not in memory');
    expect(() => create(64, path.join(temporaryDirectory(), 'missing'))).toThrow('ENOENT');
  });

  it.skipIf(disks)('writing fails where memory is full, and works again where it was written before', () => {
    const disk = new SmallDisk(2 ** 18);
    const file = create(2 ** 20, disk.path);
    const bytes = new Uint8Array(2 ** 16).fill(7);
    expect(file.write(bytes, 0)).toBe(true);
    disk.fill();
    expect(file.write(bytes, 2 ** 17)).toBe(false);
    expect(file.write(bytes, 0)).toBe(true);
    disk.makeRoom();
    expect(file.write(bytes, 2 ** 17)).toBe(true);
  });
});
