// The messages received over a connection, for a test to take out in order, and the ending of the connection.
import type { Connection } from '../../src/protocol/connection.ts';
import type { Message, Received } from '../../src/protocol/message-types.ts';

/** The ending of a connection. */
export interface Ending {
  readonly code: number;
  readonly reason: string;
}

/** A queue of messages that a test waits for. */
export class Inbox<Incoming extends Message> {
  readonly ended: Promise<Ending>;
  readonly #received: Received<Incoming>[] = [];
  #wake: () => void = () => undefined;
  #hasEnded = false;

  constructor(connection: Connection, parse: (data: Buffer) => Received<Incoming>) {
    this.ended = new Promise((resolve) =>
      connection.onClose((code, reason) => {
        this.#hasEnded = true;
        this.#wake();
        resolve({ code, reason });
      }),
    );
    connection.onMessage((data) => {
      this.#received.push(parse(data));
      this.#wake();
    });
  }

  /** Resolves to the next message; rejects if the connection ends before. */
  async take(wanted: string): Promise<Received<Incoming>> {
    for (;;) {
      const received = this.#received.shift();
      if (received) return received;
      if (this.#hasEnded) throw new Error(`the connection ended without "${wanted}"`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
