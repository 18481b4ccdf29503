// Wrong bytes below messages: requests, handshakes and frames of WebSockets, from clients to a port and from
// a server to a worker that connects.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { LockstepError } from '../../src/errors.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { SUBPROTOCOL } from '../../src/protocol/limits.ts';
import { connect } from '../../worker/connection.ts';
import type { Draws } from './mutations.ts';
import { frame, OPCODE, upgradeRequest } from './raw-client.ts';

/** Time for the other end to close a connection on which something was wrong. */
const PATIENCE_MS = 20;
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Frames of a WebSocket, of which hardly one is sound. */
function wrongFrames(payload: Buffer, draws: Draws): Buffer {
  const one = (): Buffer => {
    const opcode = draws.pick([...Object.values(OPCODE), OPCODE.binary, draws.below(16)]);
    const announced = draws.pick([payload.length, payload.length, 0, 125, 126, 2 ** 16, 2 ** 32, 2 ** 53]);
    const data = frame(opcode, payload, {
      isFinal: draws.below(3) > 0,
      isMasked: draws.below(4) > 0,
      announced,
    });
    if (draws.below(4) === 0) data[draws.below(Math.min(14, data.length))] = draws.below(256);
    return data;
  };
  return Buffer.concat(Array.from({ length: 1 + draws.below(24) }, one));
}

/** A request with bytes that are none, or without its end. */
function wrongRequest(text: string, draws: Draws): Buffer {
  const data = Buffer.from(text);
  switch (draws.below(4)) {
    case 0:
      return data.subarray(0, draws.below(data.length));
    case 1:
      return Buffer.from(text.replace('\r\n', `\r\nX: ${'y'.repeat(draws.pick([10, 9000, 100_000]))}\r\n`));
    case 2:
      return draws.bytes(draws.below(200));
    default:
      for (let flip = 0; flip < 4; flip++) data[draws.below(data.length)] = draws.below(256);
      return data;
  }
}

/** A client that goes wrong in its request, or in the frames after it. */
export async function attackPort(port: number, token: string, payload: Buffer, draws: Draws): Promise<void> {
  // Of many addresses, as one that is at fault may not connect often; elsewhere there is one.
  const from = process.platform === 'linux' && {
    localAddress: `127.1.${draws.below(256)}.${draws.below(256)}`,
  };
  const socket = net.connect({ port, host: '127.0.0.1', ...from });
  socket.on('error', () => undefined);
  // Not `once` of Node, which rejects at an error.
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const answered = new Promise((resolve) => socket.once('data', resolve));
  const request = upgradeRequest({ Authorization: `Bearer ${draws.below(8) ? token : `${token}x`}` });
  socket.write(draws.below(4) ? request : wrongRequest(request, draws));
  await Promise.race([answered, closed, sleep(PATIENCE_MS)]);
  if (!socket.closed) {
    socket.resume().write(wrongFrames(payload, draws));
    await Promise.race([closed, sleep(PATIENCE_MS)]);
  }
  socket.destroy();
}

/** A server that goes wrong in its answer to a worker, or in the frames after it. */
export class HostileServer {
  readonly #server: net.Server;
  readonly #draws: Draws;
  readonly #sockets = new Set<net.Socket>();
  #payload: Buffer = Buffer.alloc(0);

  private constructor(draws: Draws) {
    this.#draws = draws;
    this.#server = net.createServer((socket) => this.#answer(socket));
  }

  static async open(draws: Draws): Promise<HostileServer> {
    const server = new HostileServer(draws);
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  /** Has a worker connect; `use` gets its connection, if there is one, and waits for its end. */
  async attack(payload: Buffer, use: (connection: Connection) => Promise<unknown>): Promise<void> {
    this.#payload = payload;
    const { port } = this.#server.address() as AddressInfo;
    try {
      const connection = await connect({ url: `ws://127.0.0.1:${port}`, timeoutMs: 1000 });
      const used = use(connection);
      await Promise.race([used, sleep(PATIENCE_MS)]);
      connection.terminate();
      await used;
    } catch (error) {
      if (!(error instanceof LockstepError)) throw error;
    }
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #answer(socket: net.Socket): void {
    const draws = this.#draws;
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    socket.on('error', () => undefined);
    socket.once('data', (request) => {
      const key = /sec-websocket-key: (\S+)/i.exec(request.toString('latin1'))?.[1] ?? '';
      const accept = createHash('sha1')
        .update(key + GUID)
        .digest('base64');
      const head = [
        'HTTP/1.1 101 Switching Protocols',
        'Upgrade: websocket',
        'Connection: Upgrade',
        `Sec-WebSocket-Accept: ${accept}`,
        `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
      ].join('\r\n');
      socket.resume();
      socket.write(draws.below(3) ? `${head}\r\n\r\n` : wrongRequest(`${head}\r\n\r\n`, draws));
      socket.write(wrongFrames(this.#payload, draws));
      setTimeout(() => socket.destroy(), PATIENCE_MS);
    });
  }
}
