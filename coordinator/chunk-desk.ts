// Hands out the dataset to the workers that load it: each waits for its turn, so that what is on its way to all of them
// together stays within one bound, however many ask and do not read. Nothing is copied: chunks are sent from the dataset.
import { encodeHead } from '../src/protocol/envelope.ts';

/** A session that loads the dataset. */
export interface ChunkReader {
  /** Sends a message in fragments; calls back once the system has taken them. */
  sendChunk(fragments: readonly Buffer[], onTaken: () => void): void;
}

interface Chunk {
  readonly offset: number;
  readonly length: number;
}

interface Order {
  /** Chunks that wait for their turn. */
  readonly waiting: Chunk[];
  /** The one that the reader is to take. */
  onTheWay: Chunk | undefined;
}

/** On their way to all workers together: 64 chunks of 4 MiB. */
const MAX_BYTES_ON_THE_WAY = 256 * 2 ** 20;

/** See the head of this file. */
export class ChunkDesk {
  readonly #blob: Uint8Array;
  readonly #sha256: string;
  readonly #orders = new Map<ChunkReader, Order>();
  /** Readers whose turn is to come: each gets one chunk, and then goes to the end. */
  readonly #line: ChunkReader[] = [];
  #bytesOnTheWay = 0;

  constructor(blob: Uint8Array, sha256: string) {
    this.#blob = blob;
    this.#sha256 = sha256;
  }

  get byteLength(): number {
    return this.#blob.byteLength;
  }

  /** Puts a chunk in line. */
  ask(reader: ChunkReader, offset: number, length: number): void {
    const order: Order = this.#orders.get(reader) ?? { waiting: [], onTheWay: undefined };
    this.#orders.set(reader, order);
    if (order.waiting.push({ offset, length }) === 1 && !order.onTheWay) this.#line.push(reader);
    this.#serve();
  }

  /** The reader is gone, with all that it has not taken. */
  leave(reader: ChunkReader): void {
    this.#bytesOnTheWay -= this.#orders.get(reader)?.onTheWay?.length ?? 0;
    this.#orders.delete(reader);
    this.#serve();
  }

  #serve(): void {
    for (let reader = this.#line[0]; reader; reader = this.#line[0]) {
      const order = this.#orders.get(reader);
      const [chunk] = order?.waiting ?? [];
      if (chunk && this.#bytesOnTheWay + chunk.length > MAX_BYTES_ON_THE_WAY) return;
      this.#line.shift();
      if (order && chunk) this.#send(reader, order);
    }
  }

  #send(reader: ChunkReader, order: Order): void {
    const chunk = order.waiting.shift() as Chunk;
    order.onTheWay = chunk;
    this.#bytesOnTheWay += chunk.length;
    const head = encodeHead({ type: 'chunk', sha256: this.#sha256, offset: chunk.offset });
    const body = Buffer.from(this.#blob.buffer, this.#blob.byteOffset + chunk.offset, chunk.length);
    reader.sendChunk([head, body], () => {
      if (this.#orders.get(reader) !== order) return;
      this.#bytesOnTheWay -= chunk.length;
      order.onTheWay = undefined;
      if (order.waiting.length > 0) this.#line.push(reader);
      this.#serve();
    });
  }
}
