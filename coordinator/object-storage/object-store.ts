// Objects of one bucket, in S3 or a store that speaks like it. The AWS SDK signs, finds credentials and
// retries; here are deadlines, and errors in words that tell a user what to change.
import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type * as S3 from '@aws-sdk/client-s3';
import { LockstepError, quoteValue, systemErrorCode, type ErrorCategory } from '../../src/errors.ts';

/** An object, without its bytes. */
export interface StoredObject {
  readonly key: string;
  readonly byteLength: number;
  /** Changes with the bytes. */
  readonly etag: string;
  /** The hash that its writer has noted. */
  readonly sha256?: string | undefined;
  /** The hash that the store has computed; undefined where an ETag is something else. */
  readonly md5?: string | undefined;
}

/** Bytes to be stored: a file's first ones, which must not change meanwhile. */
export interface UploadedFile {
  readonly file: string;
  readonly byteLength: number;
  readonly sha256: string;
}

/** Time for a connection, and then between two bytes. */
const CONNECT_DEADLINE_MS = 10_000;
const IDLE_DEADLINE_MS = 60_000;
/** Attempts of the SDK at one request. */
const MAX_ATTEMPTS = 3;
/** Parts of an upload; larger files have larger parts, since there may be 10,000. */
const PART_BYTES = 8 * 2 ** 20;
const MAX_PARTS = 10_000;
const PARTS_AT_ONCE = 2;
/** The version that the tests use, and that a message names. */
const PACKAGES = '@aws-sdk/client-s3@3.1175.0 @aws-sdk/lib-storage@3.1175.0';

type Sdk = typeof S3;

/** One bucket. */
export class ObjectStore {
  readonly bucket: string;
  readonly #sdk: Sdk;
  readonly #client: S3.S3Client;

  private constructor(bucket: string, sdk: Sdk) {
    this.bucket = bucket;
    this.#sdk = sdk;
    const { AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3, AWS_REGION, AWS_DEFAULT_REGION } = process.env;
    const endpoint = AWS_ENDPOINT_URL_S3 || AWS_ENDPOINT_URL;
    if (endpoint && !/^https?:$/.test(URL.canParse(endpoint) ? new URL(endpoint).protocol : ''))
      throw noStore(endpoint);
    // Only Amazon has regions that matter, and names for buckets in its domain.
    const region = AWS_REGION || AWS_DEFAULT_REGION || (endpoint ? 'us-east-1' : undefined);
    this.#client = new sdk.S3Client({
      ...(region && { region }),
      forcePathStyle: Boolean(endpoint) && !/amazonaws\.com(\.cn)?\/?$/.test(endpoint ?? ''),
      followRegionRedirects: true,
      maxAttempts: MAX_ATTEMPTS,
      requestHandler: { connectionTimeout: CONNECT_DEADLINE_MS, socketTimeout: IDLE_DEADLINE_MS },
    });
  }

  /** @throws LockstepError where the SDK is not installed, or the store has no address */
  static async open(bucket: string): Promise<ObjectStore> {
    // Which Node.js the SDK will need next year is no news for each command.
    process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
    return new ObjectStore(bucket, await importSdk());
  }

  /** The address of an object. */
  urlOf(key: string): string {
    return `s3://${this.bucket}/${key}`;
  }

  /** @throws StorageError where there is none */
  async describe(key: string): Promise<StoredObject> {
    const place = { Bucket: this.bucket, Key: key };
    try {
      const answer = await this.#client.send(new this.#sdk.HeadObjectCommand(place), inTime());
      const { ContentLength: byteLength, ETag: etag = '', Metadata: { sha256 } = {} } = answer;
      if (byteLength === undefined) throw new Error('the answer tells no length: it may be that of a proxy');
      const { ServerSideEncryption: encryption } = answer;
      const isMd5 = encryption === undefined || encryption === 'AES256';
      const md5 = isMd5 ? /^"?([0-9a-f]{32})"?$/.exec(etag)?.[1] : undefined;
      return { key, byteLength, etag, sha256, md5 };
    } catch (error) {
      throw await this.#explainHead(key, error);
    }
  }

  /** An answer without a body has no words for what is wrong: the same request for a byte does. */
  async #explainHead(key: string, error: unknown): Promise<StorageError> {
    const plain = storageError(this.urlOf(key), error);
    if (plain.isTransient || statusOf(error) === undefined) return plain;
    try {
      const request = { Bucket: this.bucket, Key: key, Range: 'bytes=0-0' };
      const { Body } = await this.#client.send(new this.#sdk.GetObjectCommand(request), inTime());
      (Body as AsyncIterable<Uint8Array> & { destroy(): void }).destroy();
      return plain;
    } catch (told) {
      return storageError(this.urlOf(key), told);
    }
  }

  /** The bytes of an object from `start` on. @throws StorageError, also where the object has changed */
  async *read({ etag, key }: StoredObject, start = 0, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    try {
      const place = { Bucket: this.bucket, Key: key, IfMatch: etag };
      const range = start === 0 ? {} : { Range: `bytes=${start}-` };
      const request = new this.#sdk.GetObjectCommand({ ...place, ...range });
      const { Body } = await this.#client.send(request, signal && { abortSignal: signal });
      yield* untilIdle(Body as AsyncIterable<Uint8Array> & { destroy(): void });
    } catch (error) {
      signal?.throwIfAborted();
      throw storageError(this.urlOf(key), error);
    }
  }

  /** Stores a file under `key`, which names it only once all of it is there. @throws StorageError */
  async upload(key: string, { file, byteLength, sha256 }: UploadedFile, signal: AbortSignal): Promise<void> {
    const { Upload } = await import('@aws-sdk/lib-storage');
    const body =
      byteLength === 0 ? Buffer.alloc(0) : createReadStream(file, { start: 0, end: byteLength - 1 });
    const upload = new Upload({
      client: this.#client,
      params: { Bucket: this.bucket, Key: key, Body: body, Metadata: { sha256 } },
      partSize: Math.max(PART_BYTES, Math.ceil(byteLength / MAX_PARTS)),
      queueSize: PARTS_AT_ONCE,
    });
    const stop = (): void => void upload.abort();
    signal.addEventListener('abort', stop, { once: true });
    try {
      signal.throwIfAborted();
      await upload.done();
    } catch (error) {
      signal.throwIfAborted();
      // The file is gone.
      if (systemErrorCode(error) === 'ENOENT') throw error;
      throw storageError(this.urlOf(key), error);
    } finally {
      signal.removeEventListener('abort', stop);
      if (!Buffer.isBuffer(body)) body.destroy();
    }
  }

  /** All objects whose keys begin with `prefix`. @throws StorageError */
  async list(prefix: string): Promise<Pick<StoredObject, 'key' | 'byteLength'>[]> {
    const found: Pick<StoredObject, 'key' | 'byteLength'>[] = [];
    let token: string | undefined;
    do {
      const request = { Bucket: this.bucket, Prefix: prefix, ...(token && { ContinuationToken: token }) };
      const answer = await this.#client
        .send(new this.#sdk.ListObjectsV2Command(request), inTime())
        .catch((error: unknown) => {
          throw storageError(this.urlOf(prefix), error);
        });
      for (const { Key = '', Size = 0 } of answer.Contents ?? []) found.push({ key: Key, byteLength: Size });
      token = answer.IsTruncated ? answer.NextContinuationToken : undefined;
    } while (token !== undefined);
    return found;
  }

  /** Removes an object, if there is one. @throws StorageError */
  async remove(key: string): Promise<void> {
    const request = new this.#sdk.DeleteObjectCommand({ Bucket: this.bucket, Key: key });
    await this.#client.send(request, inTime()).catch((error: unknown) => {
      throw storageError(this.urlOf(key), error);
    });
  }

  /** Closes its connections. */
  close(): void {
    this.#client.destroy();
  }
}

async function importSdk(): Promise<Sdk> {
  try {
    return await import('@aws-sdk/client-s3');
  } catch (error) {
    if (systemErrorCode(error) !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new LockstepError({
      category: 'usage',
      code: 'E_S3_MISSING',
      message: 's3:// addresses are read by the AWS SDK, which is not installed',
      help: `install it beside lockstep: npm install ${PACKAGES}`,
    });
  }
}

function noStore(endpoint: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_S3_URL',
    message: `AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL is ${quoteValue(endpoint)}, which is no URL`,
    help: 'expected one such as http://127.0.0.1:9000',
  });
}

function inTime(): { readonly abortSignal: AbortSignal } {
  return { abortSignal: AbortSignal.timeout(IDLE_DEADLINE_MS) };
}

/** The chunks of a body; rejects where none comes for too long. */
async function* untilIdle(body: AsyncIterable<Uint8Array> & { destroy(): void }): AsyncGenerator<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const timer = new AbortController();
      const isLate = sleep(IDLE_DEADLINE_MS, undefined, { signal: timer.signal }).then(
        () => {
          throw Object.assign(new Error(`no byte came for ${IDLE_DEADLINE_MS / 1000} s`), {
            code: 'ETIMEDOUT',
          });
        },
        () => undefined,
      );
      const next = await Promise.race([chunks.next(), isLate]).finally(() => timer.abort());
      if (!next || next.done) return;
      yield next.value;
    }
  } finally {
    body.destroy();
  }
}

/** A request that the store has not fulfilled. */
export class StorageError extends LockstepError {
  /** True where the same request may be answered later. */
  readonly isTransient: boolean;

  constructor(cause: Cause, message: string, error: unknown) {
    const { category = 'network', code, help } = cause;
    super({ category, code, message, help, cause: error });
    this.isTransient = cause.isTransient ?? false;
  }
}

interface Cause {
  readonly code: `E_S3${string}`;
  readonly words: string;
  readonly help?: string;
  readonly category?: ErrorCategory;
  readonly isTransient?: boolean;
}

const UNREACHABLE: Cause = {
  code: 'E_S3_UNREACHABLE',
  words: 'the store does not answer',
  help: 'look at the network, and at AWS_ENDPOINT_URL_S3 where the store is not that of Amazon',
  isTransient: true,
};
const BUSY: Cause = {
  code: 'E_S3_BUSY',
  words: 'the store is overloaded or out of order',
  isTransient: true,
};
const DENIED: Cause = {
  code: 'E_S3_DENIED',
  words: 'access is denied',
  help: 'the credentials need s3:GetObject, s3:ListBucket and, for a mirror, s3:PutObject and s3:DeleteObject',
};
const NOT_ACCEPTED: Cause = {
  code: 'E_S3_CREDENTIALS',
  words: 'the store does not accept the credentials',
  help: 'look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or at the role',
};
const WRONG_REGION: Cause = {
  code: 'E_S3_REGION',
  words: 'the region is missing or another one',
  help: 'set AWS_REGION to that of the bucket',
};

/** Causes by the names and codes of errors. */
const CAUSES: Readonly<Record<string, Cause>> = {
  NoSuchBucket: { code: 'E_S3_NO_BUCKET', words: 'there is no such bucket', category: 'data' },
  NoSuchKey: { code: 'E_S3_NO_OBJECT', words: 'there is no such object', category: 'data' },
  NotFound: { code: 'E_S3_NO_OBJECT', words: 'there is no such object or bucket', category: 'data' },
  PreconditionFailed: { code: 'E_S3_CHANGED', words: 'it was replaced while it was read', help: 'try again' },
  AccessDenied: DENIED,
  Forbidden: DENIED,
  InvalidAccessKeyId: NOT_ACCEPTED,
  SignatureDoesNotMatch: NOT_ACCEPTED,
  ExpiredToken: NOT_ACCEPTED,
  InvalidToken: NOT_ACCEPTED,
  CredentialsProviderError: {
    code: 'E_S3_CREDENTIALS',
    words: 'no credentials were found',
    help: 'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this machine or pod a role',
  },
  AuthorizationHeaderMalformed: WRONG_REGION,
  PermanentRedirect: WRONG_REGION,
  RequestTimeTooSkewed: {
    code: 'E_S3_CREDENTIALS',
    words: 'the clock of this machine differs from that of the store',
    help: 'set the clock',
  },
  SlowDown: BUSY,
  ServiceUnavailable: BUSY,
  InternalError: BUSY,
  TimeoutError: UNREACHABLE,
  ECONNREFUSED: UNREACHABLE,
  ECONNRESET: UNREACHABLE,
  EHOSTUNREACH: UNREACHABLE,
  ENETUNREACH: UNREACHABLE,
  ENOTFOUND: UNREACHABLE,
  EAI_AGAIN: UNREACHABLE,
  EPIPE: UNREACHABLE,
  ETIMEDOUT: UNREACHABLE,
};

const FIRST_SERVER_ERROR = 500;
const TOO_MANY_REQUESTS = 429;

/** The error that a user reads of an address. */
function storageError(url: string, error: unknown): StorageError {
  if (error instanceof StorageError) return error;
  const { message, name } = error as Error;
  const { words, ...cause } = causeOf(error);
  const told =
    words === '' ? `${name}: ${message}` : `${words} (${name === 'Error' ? message : `${name}: ${message}`})`;
  return new StorageError({ words, ...cause }, `${url}: ${told}`, error);
}

function causeOf(error: unknown): Cause {
  const { message, name } = error as Error;
  const known = CAUSES[name] ?? CAUSES[systemErrorCode(error) ?? ''];
  if (known) return known;
  if (message === 'Region is missing') return WRONG_REGION;
  const status = statusOf(error) ?? 0;
  if (status >= FIRST_SERVER_ERROR || status === TOO_MANY_REQUESTS) return BUSY;
  // A body that ends too early, or an attempt that was given up.
  const isCut = /aborted|hang up|premature|terminated/i.test(message) || name === 'AbortError';
  if (isCut) return UNREACHABLE;
  return { code: 'E_S3', words: status === 0 ? '' : `the store answered with HTTP ${status}` };
}

function statusOf(error: unknown): number | undefined {
  return (error as { readonly $metadata?: { readonly httpStatusCode?: number } }).$metadata?.httpStatusCode;
}
