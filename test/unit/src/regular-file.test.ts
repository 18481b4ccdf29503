// Paths that are no regular files: every reader refuses them at once, rather than wait for a pipe's
// writer or read for ever.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { JsonlFile, readRecords } from '../../../src/line-file.ts';
import { readCheckpoint } from '../../../src/checkpoint/checkpoint-file.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { readBytes } from '../../../src/data/dataset/source-file.ts';
import { formatError, LockstepError } from '../../../src/errors.ts';
import { readModel } from '../../../src/predict/load-model.ts';
import { readToken } from '../../../src/protocol/token.ts';
import {
  readRegularFile,
  readRegularFileSync,
  UnreadableFile,
  warnIfShared,
} from '../../../src/regular-file.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';

let directory: string;

beforeEach(() => {
  directory = temporaryDirectory();
});

function place(name: string): string {
  return path.join(directory, name);
}

function makePipe(name: string): string {
  execFileSync('mkfifo', [place(name)]);
  return place(name);
}

/** The reason for which both ways of reading refuse the file. */
async function reasonsOf(file: string, maxBytes = 100): Promise<string> {
  const late: unknown = await readRegularFile(file, maxBytes).catch((error: unknown) => error);
  let early: unknown;
  try {
    readRegularFileSync(file, maxBytes);
  } catch (error) {
    early = error;
  }
  if (!(late instanceof UnreadableFile) || !(early instanceof UnreadableFile)) throw new Error('it was read');
  expect(early.message).toBe(late.message);
  return late.message;
}

describe('a file that is read whole', () => {
  it('a regular file is read whole, within a limit', async () => {
    fs.writeFileSync(place('file'), 'bytes');
    expect((await readRegularFile(place('file'), 5)).toString()).toBe('bytes');
    expect(readRegularFileSync(place('file'), 5).toString()).toBe('bytes');
    fs.writeFileSync(place('empty'), '');
    expect((await readRegularFile(place('empty'), 0)).length).toBe(0);
  });

  it('a path that is no regular file, or one that is too large, is refused with its reason', async () => {
    fs.writeFileSync(place('file'), 'bytes');
    fs.symlinkSync('loop', place('loop'));
    fs.symlinkSync('nowhere', place('dangling'));
    expect(await reasonsOf(place('file'), 4)).toBe('it has 5 bytes; at most 4 are read');
    expect(await reasonsOf(directory)).toBe('it is a directory');
    expect(await reasonsOf(place('dangling'))).toBe('no such file');
    expect(await reasonsOf(place('file/below'))).toBe('no such file');
    expect(await reasonsOf(place('loop'))).toBe('a link leads back to itself');
    expect(await reasonsOf(place('x'.repeat(300)))).toBe('its name is too long');
    expect(await reasonsOf(place('a\0b'))).toBe('its name holds a NUL');
    expect(await reasonsOf(makePipe('pipe'))).toBe('it is a pipe, not a regular file');
  });

  it.skipIf(process.platform === 'win32')('a socket or a device is refused with its reason', async () => {
    const server = net.createServer().listen(place('socket'));
    await once(server, 'listening');
    expect(await reasonsOf(place('socket'))).toBe('it is a socket, or a device that is not there');
    server.close();
    expect(await reasonsOf('/dev/zero')).toBe('it is a device, not a regular file');
  });
});

describe('a pipe without a writer', () => {
  async function refusalOf(attempt: () => unknown): Promise<string> {
    const error: unknown = await Promise.resolve()
      .then(attempt)
      .catch((reason: unknown) => reason);
    if (!(error instanceof LockstepError)) throw new Error(`no refusal but ${String(error)}`);
    return formatError(error).replaceAll(`${directory}/`, '');
  }

  it('a pipe is refused as a config', async () => {
    const path = makePipe('pipe.yaml');
    expect(await refusalOf(() => loadConfig({ path, env: {} }))).toBe(
      'error[E_CONFIG_UNREADABLE]: cannot read pipe.yaml: it is not a regular file',
    );
  });

  it('a pipe is refused as data', async () => {
    expect(await refusalOf(() => readBytes(makePipe('pipe')).next())).toBe(
      'error[E_DATA_UNREADABLE]: cannot read pipe: it is a pipe, not a regular file\n' +
        '  help: data are read more than once: write them to a file, and name that',
    );
  });

  it('a pipe is refused as a checkpoint', async () => {
    expect(await refusalOf(() => readCheckpoint(makePipe('pipe')))).toBe(
      'error[E_CHECKPOINT]: pipe: cannot be read (it is a pipe, not a regular file)',
    );
  });

  it('a pipe is refused as a token', async () => {
    const file = makePipe('pipe');
    expect(await refusalOf(() => readToken({ file, env: {}, warn: () => undefined }))).toBe(
      'error[E_TOKEN_FILE]: cannot read token file pipe: it is a pipe, not a regular file\n' +
        '  help: give the path of a readable file, or the token itself as LOCKSTEP_TOKEN',
    );
  });

  it('a pipe is refused as a model', async () => {
    makePipe('config.json');
    expect(await refusalOf(() => readModel(directory))).toBe(
      'error[E_MODEL_NOT_FOUND]: cannot read config.json: it is a pipe, not a regular file',
    );
  });

  it('a pipe is refused as the records of a run, for reading and for writing', () => {
    const pipe = makePipe('events.jsonl');
    expect(() => new JsonlFile(pipe)).toThrow(/^ENXIO: no such device or address, open /);
    expect(() => [...readRecords(pipe)]).toThrow('it is a pipe, not a regular file');
  });
});

describe('a file that holds a secret', () => {
  const isRoot = process.getuid?.() === 0;
  it.skipIf(!isRoot)(
    `a secret that root hands over to a group causes no warning, unless all may read it${isRoot ? '' : ': needs root'}`,
    () => {
      const file = place('token.txt');
      const warningsFor = (mode: number, user: number): string[] => {
        fs.writeFileSync(file, 'secret');
        fs.chmodSync(file, mode);
        const warnings: string[] = [];
        warnIfShared(file, 'token file', (message) => warnings.push(message), user);
        return warnings;
      };
      expect(warningsFor(0o440, 1000)).toEqual([]);
      expect(warningsFor(0o440, 0)).toHaveLength(1);
      expect(warningsFor(0o444, 1000)).toHaveLength(1);
      expect(warningsFor(0o460, 1000)).toHaveLength(1);
    },
  );
});

describe('readRecords', () => {
  it('readRecords returns whole lines across slices of the file, and stops at a line that is too long', () => {
    const lines = Array.from({ length: 3 }, (_, index) =>
      JSON.stringify({ index, text: 'x'.repeat(700_000) }),
    );
    fs.writeFileSync(place('long'), `${lines.join('\n')}\n{"torn":`);
    expect([...readRecords(place('long'))].map(({ index }) => index)).toEqual([0, 1, 2]);
    fs.writeFileSync(place('endless'), '{"index":0}\n');
    fs.truncateSync(place('endless'), 40 * 2 ** 20);
    fs.appendFileSync(place('endless'), '\n{"index":1}\n');
    expect([...readRecords(place('endless'))]).toEqual([{ index: 0 }]);
  });
});

describe('a file on a server, which another machine replaces', () => {
  const stale = (): never => {
    throw Object.assign(new Error('ESTALE: stale file handle, read'), { code: 'ESTALE' });
  };

  it('a file that was replaced while it was read is read again', () => {
    fs.writeFileSync(place('replaced'), 'new');
    const read = vi.spyOn(fs, 'readSync').mockImplementationOnce(stale);
    onTestFinished(() => read.mockRestore());
    expect(readRegularFileSync(place('replaced'), 100).toString()).toBe('new');
  });

  it('a file that is replaced again and again is refused in words', () => {
    fs.writeFileSync(place('replaced'), 'new');
    const read = vi.spyOn(fs, 'readSync').mockImplementation(stale);
    onTestFinished(() => read.mockRestore());
    expect(() => readRegularFileSync(place('replaced'), 100)).toThrow(
      new UnreadableFile('it was replaced or removed on the file server while it was read', 'ESTALE'),
    );
  });
});
