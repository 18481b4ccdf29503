// A client that sends exactly what it is told to: raw bytes over TCP, and a WebSocket handshake by hand.
import { once } from 'node:events';
import net from 'node:net';
import { onTestFinished } from 'vitest';
import { SUBPROTOCOL } from '../../src/protocol/limits.ts';

const RECORDED_BYTES = 65_536;

/** A TCP connection that records the beginning of what it receives. */
export class RawClient {
  readonly socket: net.Socket;
  #received = Buffer.alloc(0);

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      if (this.#received.length < RECORDED_BYTES) this.#received = Buffer.concat([this.#received, chunk]);
    });
    socket.on('error', () => undefined);
  }

  /** Destroyed when the test is over. */
  static async open(port: number): Promise<RawClient> {
    const socket = net.connect({ port, host: '127.0.0.1' });
    onTestFinished(() => void socket.destroy());
    const client = new RawClient(socket);
    await once(socket, 'connect');
    return client;
  }

  /** A client that has shaken hands and may send frames. */
  static async openWebSocket(
    port: number,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<RawClient> {
    const client = await RawClient.open(port);
    client.socket.write(upgradeRequest(headers));
    await client.untilReceived('\r\n\r\n');
    return client;
  }

  /** The first line of the answer. */
  get statusLine(): string {
    return this.#received.toString('latin1').split('\r\n', 1)[0] ?? '';
  }

  /** The part of the answer after the empty line. */
  get afterHead(): Buffer {
    return this.#received.subarray(this.#received.indexOf('\r\n\r\n') + 4);
  }

  async untilReceived(text: string): Promise<void> {
    while (!this.#received.includes(text)) await once(this.socket, 'data');
  }

  /** Resolves to the milliseconds until the other side ended the connection. */
  async untilClosed(): Promise<number> {
    const start = performance.now();
    this.socket.resume();
    if (!this.socket.closed) await once(this.socket, 'close');
    return performance.now() - start;
  }
}

/** A valid handshake with some headers replaced; an empty value leaves one out. */
export function upgradeRequest(headers: Readonly<Record<string, string>> = {}): string {
  const all = {
    Host: 'localhost',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Protocol': SUBPROTOCOL,
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === '' ? [] : [`${name}: ${value}`]));
  return `GET / HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
}

/** Flaws that a frame may have. */
export interface FrameOptions {
  readonly isFinal?: boolean;
  readonly isMasked?: boolean;
  /** The length that is announced; default: the payload's. */
  readonly announced?: number;
}

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9 } as const;

/** The bytes of one WebSocket frame from a client, masked with zeros. */
export function frame(opcode: number, payload: Uint8Array, options: FrameOptions = {}): Buffer {
  const { isFinal = true, isMasked = true, announced = payload.length } = options;
  const first = opcode | (isFinal ? 0x80 : 0);
  const maskBit = isMasked ? 0x80 : 0;
  const head =
    announced < 126
      ? Buffer.from([first, announced | maskBit])
      : Buffer.from([first, 127 | maskBit, ...Array<number>(8).fill(0)]);
  if (announced >= 126) head.writeBigUInt64BE(BigInt(announced), 2);
  return Buffer.concat([head, Buffer.alloc(isMasked ? 4 : 0), payload]);
}
