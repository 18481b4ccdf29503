// Two ends of a connection within one process: whole messages, and no network that could lose or cut them.
import type { Connection } from '../../src/protocol/connection.ts';

/** One end. */
export class MemoryConnection implements Connection {
  readonly id = 0;
  readonly remoteAddress: string;
  readonly bufferedBytes = 0;
  bytesRead = 0;
  /** Time that a message takes from here to the other end. */
  delayMs = 0;
  /** Sees every message that arrives here. */
  tap: ((data: Buffer) => void) | undefined;
  /** The end that the connection came to. */
  ending: { readonly code: number; readonly reason: string } | undefined;
  #peer: MemoryConnection | undefined;
  #onMessage: ((data: Buffer) => void) | undefined;
  readonly #onClose: ((code: number, reason: string) => void)[] = [];
  /** Messages that came before anybody listened. */
  #early: Buffer[] = [];

  private constructor(remoteAddress: string) {
    this.remoteAddress = remoteAddress;
  }

  /** Both ends; to the first one, the second one is at `address`. */
  static pair(address: string): [MemoryConnection, MemoryConnection] {
    const first = new MemoryConnection(address);
    const second = new MemoryConnection('127.0.0.1');
    [first.#peer, second.#peer] = [second, first];
    return [first, second];
  }

  get isOpen(): boolean {
    return this.ending === undefined;
  }

  send(message: Buffer | readonly Buffer[], onTaken?: (isWhole: boolean) => void): void {
    if (!this.isOpen) return;
    // Copied: the receiver may keep what it gets, and the sender uses its buffers again.
    const data = Buffer.isBuffer(message) ? Buffer.from(message) : Buffer.concat(message);
    const deliver = (): void => {
      onTaken?.(true);
      this.#peer?.deliver(data);
    };
    if (this.delayMs > 0) setTimeout(deliver, this.delayMs);
    else setImmediate(deliver);
  }

  /** Takes a message at once, in the turn of whoever calls. */
  deliver(data: Buffer): void {
    if (!this.isOpen) return;
    this.bytesRead += data.length;
    this.tap?.(data);
    if (this.#onMessage) this.#onMessage(data);
    else this.#early.push(data);
  }

  flush(): void {
    // Nothing waits here.
  }

  dropQueued(): void {
    // Nothing waits here.
  }

  close(code: number, reason: string): void {
    this.#end(code, reason);
  }

  terminate(reason = ''): void {
    this.#end(1006, reason);
  }

  onMessage(listener: (data: Buffer) => void): void {
    this.#onMessage = listener;
    for (const data of this.#early.splice(0)) listener(data);
  }

  onClose(listener: (code: number, reason: string) => void): void {
    this.#onClose.push(listener);
  }

  #end(code: number, reason: string): void {
    if (!this.isOpen) return;
    this.ending = { code, reason };
    setImmediate(() => this.#onClose.forEach((listener) => listener(code, reason)));
    const peer = this.#peer;
    if (peer) peer.#end(code, reason);
  }
}
