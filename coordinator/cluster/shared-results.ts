// The files for workers of this machine: that of the weights, and those in which each leaves its
// results. The coordinator makes them, offers them in `welcome`, and reads results only after the
// worker has shown that it has the same file.
import { createHash, randomBytes } from 'node:crypto';
import type { Logger } from '../../src/log.ts';
import type { SharedMemoryOffer } from '../../src/protocol/message-types.ts';
import { NONCE_BYTES, RESULTS_FILE_BYTES, SharedFile, TAKEN_OFFSET } from '../../src/protocol/shared-file.ts';
import type { Extent, FileBody } from '../../src/protocol/shared-file.ts';

/**
 * Makes the file of two versions of the weights that workers of this machine read; undefined where
 * the system has none.
 */
export function createWeightsFile(numParameters: number, log: Logger): SharedFile | undefined {
  try {
    return SharedFile.create(2 * 4 * numParameters);
  } catch (error) {
    log.debug(`there is no shared memory, so all goes through sockets: ${(error as Error).message}`);
    return undefined;
  }
}

/** The results of one session. */
export class SharedResults {
  readonly offer: SharedMemoryOffer;
  readonly #file: SharedFile;
  readonly #nonce: string;
  readonly #taken = new Uint8Array(1);

  /** @throws Error where there is no memory, or no descriptor, for another file */
  constructor(weights: SharedFile) {
    this.#file = SharedFile.create(RESULTS_FILE_BYTES);
    const nonce = randomBytes(NONCE_BYTES);
    if (!this.#file.write(nonce, 0)) {
      this.#file.close();
      throw new Error('there is no room in shared memory');
    }
    this.#nonce = nonce.toString('hex');
    this.offer = {
      pid: process.pid,
      weights: weights.descriptor,
      results: this.#file.descriptor,
      sha256: createHash('sha256').update(nonce).digest('hex'),
    };
  }

  /** Tells whether a worker has read the nonce in the file. */
  isProvenBy(nonce: string): boolean {
    return nonce === this.#nonce;
  }

  /** The result at an extent. @throws ProtocolError if it lies outside the file */
  at(extent: Extent): FileBody {
    return this.#file.bodyAt(extent);
  }

  /** Lets the worker write over its oldest result. */
  noteTaken(): void {
    this.#taken[0] = ((this.#taken[0] as number) + 1) & 0xff;
    this.#file.write(this.#taken, TAKEN_OFFSET);
  }

  close(): void {
    this.#file.close();
  }
}
