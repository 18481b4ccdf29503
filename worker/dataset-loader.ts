// The dataset on its way to a worker: asked for chunk by chunk, a few ahead, and checked when it is
// complete.
import { beginDatasetHash } from '../src/data/dataset/hash-dataset.ts';
import { blobByteLength } from '../src/data/dataset/packed-dataset.ts';
import { MAX_BODY_BYTES } from '../src/protocol/limits.ts';
import type { ChunkMessage, FetchMessage, WelcomeMessage } from '../src/protocol/message-types.ts';
import { CLOSE, ProtocolError } from '../src/protocol/protocol-error.ts';
import type { Replica } from './replica.ts';

/** The parts that a dataset is loaded with. */
export interface DatasetLoaderOptions {
  readonly welcome: WelcomeMessage;
  readonly replica: Replica;
  readonly send: (message: FetchMessage) => void;
}

/** Chunks asked for ahead, so that the line is never idle. */
const CHUNKS_IN_FLIGHT = 4;

/** Loads one dataset. */
export class DatasetLoader {
  readonly #options: DatasetLoaderOptions;
  readonly #byteLength: number;
  readonly #hash: ReturnType<typeof beginDatasetHash>;
  #bytesAsked = 0;
  #bytesLoaded = 0;

  /** Asks for the first chunks. */
  constructor(options: DatasetLoaderOptions) {
    this.#options = options;
    const { layout } = options.welcome;
    this.#byteLength = blobByteLength(layout);
    this.#hash = beginDatasetHash(layout);
    for (let chunk = 0; chunk < CHUNKS_IN_FLIGHT; chunk++) this.#ask();
  }

  /**
   * Stores a chunk, and asks for another; returns true once the dataset is complete.
   * @throws ProtocolError for a chunk that was not asked for, or a dataset that is not the one named
   */
  store(message: ChunkMessage, body: Uint8Array): boolean {
    const { replica, welcome } = this.#options;
    const length = Math.min(MAX_BODY_BYTES, this.#byteLength - this.#bytesLoaded);
    const isExpected =
      message.sha256 === welcome.datasetSha256 &&
      message.offset === this.#bytesLoaded &&
      body.byteLength === length;
    if (!isExpected) {
      const what = `${body.byteLength} bytes of the dataset at ${message.offset}`;
      const wanted = `${length} at ${this.#bytesLoaded}`;
      throw new ProtocolError('E_MESSAGE_BODY', `${what} came, not ${wanted}`, CLOSE.protocol);
    }
    replica.storeChunk(message.offset, body);
    this.#hash.update(body);
    this.#bytesLoaded += body.byteLength;
    this.#ask();
    if (this.#bytesLoaded < this.#byteLength) return false;
    if (this.#hash.digest('hex') !== welcome.datasetSha256)
      throw new ProtocolError('E_MESSAGE_BODY', 'the dataset arrived damaged', CLOSE.protocol);
    replica.finishLoading();
    return true;
  }

  #ask(): void {
    const { send, welcome } = this.#options;
    const length = Math.min(MAX_BODY_BYTES, this.#byteLength - this.#bytesAsked);
    if (length === 0) return;
    send({ type: 'fetch', sha256: welcome.datasetSha256, offset: this.#bytesAsked, length });
    this.#bytesAsked += length;
  }
}
