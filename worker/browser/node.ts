// What the sources of a worker take of Node.js, for a browser: the build puts this file in the place of
// every `node:` module, and of the global names, so that a tab runs the same sources.
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import CRC32 from 'crc-32';
import { LockstepError } from '../../src/errors.ts';

export { Buffer } from 'buffer/index.js';

/** An environment without variables, and a process that cannot know how much memory it has. */
export const process = { env: {} as Record<string, string | undefined>, memoryUsage: { rss: residentBytes } };

/** `performance.memory` of Chromium leaves out the memory of kernels. */
function residentBytes(): number {
  return 0;
}

/** `node:crypto`, with the one algorithm that is used; pages over plain HTTP have no `crypto.subtle`. */
export function createHash(_algorithm: 'sha256'): {
  update(data: string | Uint8Array): ReturnType<typeof createHash>;
  digest(encoding: 'hex'): string;
} {
  const state = sha256.create();
  return {
    update(data) {
      state.update(typeof data === 'string' ? utf8ToBytes(data) : data);
      return this;
    },
    digest: () => bytesToHex(state.digest()),
  };
}

/** `node:zlib`. */
export function crc32(data: Uint8Array, value = 0): number {
  return CRC32.buf(data, value) >>> 0;
}

/** `node:net`. */
export function isIPv4(text: string): boolean {
  return /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/.test(text);
}

/** `node:net`. */
export function isIPv6(text: string): boolean {
  return text.includes(':') && URL.canParse(`http://[${text}]/`);
}

/** `node:timers/promises`. */
export function setTimeout(
  delayMs: number,
  _value?: undefined,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = globalThis.setTimeout(end, delayMs);
    signal?.addEventListener('abort', end);
  });
}

/** `node:timers/promises`: a turn of the event loop, which a browser would delay by 4 ms with a timer. */
export function setImmediate(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

/** `node:worker_threads`. A tab's worker has one thread. */
export const threadId = 0;

/** `node:worker_threads`. */
export class Worker {
  constructor() {
    throw new LockstepError({
      category: 'failure',
      code: 'E_NO_THREADS',
      message: 'a worker in a browser has one thread',
    });
  }
}

/** `node:fs` and `node:path`, which are used for files that a tab is not offered. */
const nothing = {};
export { nothing as default };
