// A worker's side of the files that its coordinator shares with it: weights to read, and room for
// results. A result lies there until the coordinator says that it has taken it; where there is no
// room, nobody waits, and the result is sent by the socket.
import { createHash } from 'node:crypto';
import type { SharedMemoryOffer } from '../src/protocol/message-types.ts';
import {
  MAX_UNTAKEN,
  NONCE_BYTES,
  RESULTS_OFFSET,
  SharedFile,
  TAKEN_OFFSET,
} from '../src/protocol/shared-file.ts';
import type { Extent, FileBody } from '../src/protocol/shared-file.ts';

/** The files of one session. */
export class SharedMemory {
  /** `Hex64`, which only who has read the file of results can know. */
  readonly nonce: string;
  readonly #weights: SharedFile;
  readonly #results: SharedFile;
  /** Results that the coordinator has not taken, oldest first. They lie in a ring. */
  readonly #untaken: Extent[] = [];
  /** The coordinator's count of results at the last look. */
  readonly #taken = new Uint8Array(1);
  /** The end of the newest result. */
  #end = RESULTS_OFFSET;

  /**
   * Opens the files of an offer.
   * @throws Error where they cannot be reached, or are not the ones that were offered
   */
  constructor({ pid, weights, results, sha256 }: SharedMemoryOffer) {
    this.#results = SharedFile.open(pid, results, 'write');
    try {
      const nonce = Buffer.alloc(NONCE_BYTES);
      this.#results.read(nonce, 0);
      if (createHash('sha256').update(nonce).digest('hex') !== sha256)
        throw new Error('it is not the file that was offered');
      this.nonce = nonce.toString('hex');
      this.#weights = SharedFile.open(pid, weights, 'read');
    } catch (error) {
      this.#results.close();
      throw error;
    }
  }

  /** The body at an extent of the weights. @throws ProtocolError if it lies outside the file */
  weightsAt(extent: Extent): FileBody {
    return this.#weights.bodyAt(extent);
  }

  /** Stores a result for the coordinator; undefined for one that the socket has to send. */
  store(bytes: Uint8Array): Extent | undefined {
    const length = bytes.byteLength;
    this.#dropTaken();
    const offset = this.#room(length);
    if (offset === undefined || !this.#results.write(bytes, offset)) return undefined;
    const extent = { offset, length };
    this.#untaken.push(extent);
    this.#end = offset + length;
    return extent;
  }

  close(): void {
    this.#weights.close();
    this.#results.close();
  }

  #dropTaken(): void {
    if (this.#untaken.length === 0) return;
    const before = this.#taken[0] as number;
    this.#results.read(this.#taken, TAKEN_OFFSET);
    this.#untaken.splice(0, ((this.#taken[0] as number) - before) & 0xff);
  }

  /** The offset of free room; results start over wherever that is possible, so that few pages are touched. */
  #room(length: number): number | undefined {
    const [oldest] = this.#untaken;
    if (!oldest) return RESULTS_OFFSET + length <= this.#results.byteLength ? RESULTS_OFFSET : undefined;
    if (this.#untaken.length === MAX_UNTAKEN) return undefined;
    const isWrapped = this.#end <= oldest.offset;
    if (this.#end + length <= (isWrapped ? oldest.offset : this.#results.byteLength)) return this.#end;
    return !isWrapped && RESULTS_OFFSET + length <= oldest.offset ? RESULTS_OFFSET : undefined;
  }
}
