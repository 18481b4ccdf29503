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
   * @param data one buffer, or the fragments that make the message: none of them is copied, and each is handed to the
   * system when that has taken all before it.
   * @param onTaken called whenever the system has taken a fragment; never for a message that is dropped.
   */
  send(data: Buffer | readonly Buffer[], onTaken?: (isWhole: boolean) => void): void;
  /** Forgets messages that wait in this process; those whose first byte is in flight still go out whole. */
  dropQueued(): void;
  /** Sends what is queued and says goodbye. A peer that takes or answers nothing for 3 s is cut off. */
  close(code: number, reason: string): void;
  /** Cuts the connection at once; `reason` is for our own `onClose`. */
  terminate(reason?: string): void;
  /** Sets the listener, once. Nothing is read from the network before; the listener may keep what it gets. */
  onMessage(listener: (data: Buffer) => void): void;
  /**
   * Adds a listener for the end, which comes once. Code and reason are those of the side that ended it first; 1006
   * where nobody said goodbye.
   */
  onClose(listener: (code: number, reason: string) => void): void;
}
