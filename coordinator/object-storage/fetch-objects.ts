// Objects that are copied here once, into the folder `objects` of the user's cache, each under a name made
// of its address, ETag and size. Whoever reads data or weights then reads a file.
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isObjectUrl, parseObjectUrl } from '../../src/config/object-url.ts';
import { mapConfigPaths } from '../../src/config/resolve-paths.ts';
import type { Config } from '../../src/config/schema.ts';
import { cacheFolder } from '../../src/data/dataset/scratch-file.ts';
import { noteOrigin } from '../../src/data/dataset/source-file.ts';
import { makeDirectory, writeFileDurably, type FileSlice } from '../../src/durable-write.ts';
import { LockstepError, quoteValue, systemErrorCode } from '../../src/errors.ts';
import { formatBytes } from '../../src/memory.ts';
import { ObjectStore, StorageError, type StoredObject } from './object-store.ts';

/** An object, and the file that has its bytes here. */
export interface FetchedObject {
  readonly url: string;
  readonly etag: string;
  readonly byteLength: number;
  readonly file: string;
}

/** The listener to a fetch, and its end. */
export interface FetchOptions {
  /** Told of what takes time, and of attempts that failed. */
  readonly say?: ((message: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Attempts in a row that bring nothing, and the pause after the first, which doubles. */
const MAX_ATTEMPTS = 5;
const RETRY_PAUSE_MS = 500;
/** Time between two lines about a long download. */
const TELL_MS = 10_000;

/** The config with files in the place of the objects that it names, and these. @throws LockstepError */
export async function fetchConfigObjects(
  config: Config,
  options: FetchOptions = {},
): Promise<{ readonly config: Config; readonly objects: readonly FetchedObject[] }> {
  const urls = new Set<string>();
  mapConfigPaths(config, (name) => {
    if (isObjectUrl(name)) urls.add(name);
    return name;
  });
  if (urls.size === 0) return { config, objects: [] };
  const objects: FetchedObject[] = [];
  for (const url of urls) objects.push(await fetchObject(url, options));
  const files = new Map(objects.map(({ file, url }) => [url, file]));
  return { config: mapConfigPaths(config, (name) => files.get(name) ?? name), objects };
}

/** The path of a file, and that of the copy of an object. @throws LockstepError */
export async function localPath(place: string, options: FetchOptions = {}): Promise<string> {
  return isObjectUrl(place) ? (await fetchObject(place, options)).file : place;
}

/** Copies an object here, unless it is here already. @throws LockstepError */
async function fetchObject(url: string, options: FetchOptions = {}): Promise<FetchedObject> {
  const place = parseObjectUrl(url);
  if (!place) throw noAddress(url);
  const store = await ObjectStore.open(place.bucket);
  try {
    const object = await patiently(() => store.describe(place.key), options);
    const { byteLength, etag } = object;
    const name = createHash('sha256')
      .update(JSON.stringify([url, etag, byteLength]))
      .digest('hex');
    const file = path.join(objectsFolder(), name.slice(0, 32), fileNameOf(place.key));
    if (await isThere(file, byteLength)) options.say?.(`${url}: ${formatBytes(byteLength)}, here already`);
    else await copyObject(store, object, file, options);
    noteOrigin(file, url);
    return { url, etag, byteLength, file };
  } finally {
    store.close();
  }
}

/** Writes an object to a file, which has all of it or is not there. @throws LockstepError */
export async function copyObject(
  store: ObjectStore,
  object: StoredObject,
  file: string,
  options: FetchOptions = {},
): Promise<void> {
  try {
    await makeDirectory(path.dirname(file));
    await writeFileDurably(file, slicesOf(store, object, options));
  } catch (error) {
    if (systemErrorCode(error) === undefined || error instanceof LockstepError) throw error;
    throw new LockstepError({
      category: 'failure',
      code: 'E_S3_COPY',
      message: `${store.urlOf(object.key)} cannot be written to ${file}: ${(error as Error).message}`,
      help: 'free some space, or name another folder by LOCKSTEP_CACHE_DIR',
      cause: error,
    });
  }
}

/** The bytes of an object, gone on with where an answer has ended, and checked. */
async function* slicesOf(
  store: ObjectStore,
  object: StoredObject,
  { say, signal }: FetchOptions,
): AsyncGenerator<FileSlice> {
  const { byteLength, key } = object;
  const url = store.urlOf(key);
  const hashes = { sha256: createHash('sha256'), md5: createHash('md5') };
  const startMs = performance.now();
  let toldMs = startMs;
  let position = 0;
  for (let numFailures = 0; position < byteLength;) {
    try {
      for await (const bytes of store.read(object, position, signal)) {
        for (const hash of Object.values(hashes)) hash.update(bytes);
        yield { position, bytes };
        position += bytes.byteLength;
        numFailures = 0;
        if (performance.now() - toldMs < TELL_MS) continue;
        toldMs = performance.now();
        say?.(`${url}: ${formatBytes(position)} of ${formatBytes(byteLength)}`);
      }
      if (position < byteLength && ++numFailures >= MAX_ATTEMPTS) throw damaged(url, 'it ends too early');
    } catch (error) {
      if (!(error instanceof StorageError) || !error.isTransient || ++numFailures >= MAX_ATTEMPTS)
        throw error;
      say?.(`${error.message}; going on after ${formatBytes(position)}`);
      await sleep(RETRY_PAUSE_MS * 2 ** numFailures, undefined, { signal });
    }
  }
  if (position > byteLength) throw damaged(url, `it has more than the ${byteLength} bytes announced`);
  for (const name of ['sha256', 'md5'] as const) {
    const found = hashes[name].digest('hex');
    if (object[name] !== undefined && object[name] !== found)
      throw damaged(url, `its ${name} is ${found}, not ${object[name]}`);
  }
  const seconds = (performance.now() - startMs) / 1000;
  say?.(`${url}: ${formatBytes(byteLength)} in ${seconds.toFixed(1)} s`);
}

/** Asks again for what a store could not answer just now. */
export async function patiently<Answer>(
  ask: () => Promise<Answer>,
  { say, signal }: FetchOptions = {},
): Promise<Answer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof StorageError) || !error.isTransient || attempt >= MAX_ATTEMPTS) throw error;
      say?.(`${error.message}; asking again`);
      await sleep(RETRY_PAUSE_MS * 2 ** attempt, undefined, { signal });
    }
  }
}

/** The last characters that a file keeps of a key: with those of a temporary file, at most 255 bytes. */
const MAX_NAME_LENGTH = 72;

/** The name of the copy of an object. A reader may choose the format by its ending. */
export function fileNameOf(key: string): string {
  const name = path.basename(key).slice(-MAX_NAME_LENGTH);
  return name === '.' || name === '..' ? 'object' : name;
}

let temporary: string | undefined;

/** The folder of copies. Without a cache it lasts as long as this process: others could write to a shared one. */
function objectsFolder(): string {
  const folder = cacheFolder('objects') ?? temporary;
  if (folder !== undefined) return folder;
  const own = mkdtempSync(path.join(os.tmpdir(), 'lockstep-objects-'));
  process.once('exit', () => rmSync(own, { recursive: true, force: true }));
  return (temporary = own);
}

async function isThere(file: string, byteLength: number): Promise<boolean> {
  const stats = await fs.stat(file).catch(() => undefined);
  return stats?.isFile() === true && stats.size === byteLength;
}

function damaged(url: string, what: string): LockstepError {
  return new LockstepError({
    category: 'data',
    code: 'E_S3_DAMAGED',
    message: `${url}: the object came damaged: ${what}`,
    help: 'try again, or store it again',
  });
}

/** @throws LockstepError (exit 2) for what only looks like an address */
export function noAddress(url: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_S3_URL',
    message: `${quoteValue(url)} names no object`,
    help: 'expected s3://BUCKET/KEY',
  });
}
