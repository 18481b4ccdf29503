// One end of a connection that carries whole binary messages. It knows nothing of what they mean.

/** An open connection to one peer, the same on both ends. */
export interface Connection {
  /** Unique among the connections of one listener, from 1; a worker, which has one, calls it 0. */
  readonly id: number;
  /** The peer's address, without its port. */
  readonly remoteAddress: string;
  /** Bytes sent that this process still holds: the peer, or the way to it, is slower than we are. */
  readonly bufferedBytes: number;
  /** Bytes received since the connection was made. */
  readonly bytesRead: number;
  /**
   * Queues a message, without a limit: the sender watches `bufferedBytes`. The bytes must not change until
   * they are sent. Does nothing on a connection that is closing.
   */
  send(data: Buffer): void;
  /** Sends what is queued and says goodbye. A peer that does not answer is cut off after 3 s. */
  close(code: number, reason: string): void;
  /** Cuts the connection at once; `reason` is for our own `onClose`. */
  terminate(reason?: string): void;
  /** Makes the peer send a few bytes. */
  ping(): void;
  /** To be called once. Nothing is read from the network before; the listener may keep what it gets. */
  onMessage(listener: (data: Buffer) => void): void;
  /**
   * Adds a listener for the end, which comes once. Code and reason are those of whoever ended it first; 1006
   * where nobody said goodbye.
   */
  onClose(listener: (code: number, reason: string) => void): void;
}
