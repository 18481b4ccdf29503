// A worker's connection to its coordinator: what can go wrong, how it is reported, and when another try
// makes sense.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { WebSocketServer } from 'ws';
import { listen } from '../../coordinator/cluster/listener.ts';
import type { ListenOptions } from '../../coordinator/cluster/listener.ts';
import { formatError, LockstepError } from '../../src/errors.ts';
import { createLogger } from '../../src/log.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { ConnectError, retryDelayMs } from '../../worker/connect-failure.ts';
import { connect } from '../../worker/connection.ts';
import type { ConnectOptions } from '../../worker/connection.ts';
import { startTcpServer } from '../helpers/tcp-server.ts';

const TOKEN = 'abcdefgh01234567';
const log = createLogger({ level: 'silent' });

async function coordinator(
  options: Partial<ListenOptions> = {},
): Promise<{ url: string; connections: Connection[] }> {
  const connections: Connection[] = [];
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    token: TOKEN,
    maxWorkers: 1,
    log,
    onConnection: (connection) => {
      connections.push(connection);
      connection.onMessage(() => undefined);
    },
    ...options,
  });
  onTestFinished(() => listener.close());
  return { url: `ws://127.0.0.1:${listener.port}`, connections };
}

async function httpServer(onRequest: RequestListener): Promise<string> {
  const server = createServer(onRequest).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The failure as a user reads it, the address replaced, and whether to try again. */
async function failureOf(
  options: ConnectOptions,
): Promise<{ text: string; exitCode: number; isRetryable: boolean }> {
  const error: unknown = await connect(options).then(
    () => new Error('it connected'),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof LockstepError)) throw error;
  const text = formatError(error).replaceAll(options.url.replace(/^wss?:\/\//, ''), 'HOST');
  return { text, exitCode: error.exitCode, isRetryable: error instanceof ConnectError && error.isRetryable };
}

describe('a connection', () => {
  it('a connection delivers messages that arrived before anyone listened', async () => {
    const { url } = await coordinator({
      onConnection: (connection) => connection.send(Buffer.from('first')),
    });
    const connection = await connect({ url, token: TOKEN });
    await new Promise((resolve) => setTimeout(resolve, 50));
    const message = await new Promise((resolve) => connection.onMessage(resolve));
    expect(message).toEqual(Buffer.from('first'));
    connection.terminate();
  });

  it('a connection keeps the order of messages through a backlog and counts its bytes', async () => {
    const received: number[] = [];
    const numMessages = 200;
    const done = new Promise<void>((resolve) => {
      void coordinator({
        onConnection: (connection) =>
          connection.onMessage((data) => {
            received.push(data.readUInt32LE(0));
            if (received.length === numMessages) resolve();
          }),
      }).then(async ({ url }) => {
        const worker = await connect({ url, token: TOKEN });
        worker.onMessage(() => undefined);
        for (let index = 0; index < numMessages; index++) {
          const data = Buffer.alloc(index % 2 === 0 ? 200_000 : 10);
          data.writeUInt32LE(index);
          worker.send(data);
        }
        expect(worker.bufferedBytes).toBeGreaterThan(10_000_000);
      });
    });
    await done;
    expect(received).toEqual(Array.from({ length: numMessages }, (_, index) => index));
  });

  it('a connection holds messages until its turn of the event loop ends, or they are flushed', async () => {
    const { url } = await coordinator();
    const connection = await connect({ url, token: TOKEN });
    const waiting: boolean[] = [];
    const note = (): unknown => waiting.push(connection.bufferedBytes > 0);
    connection.send(Buffer.from('first'));
    connection.send(Buffer.from('second'));
    note();
    connection.flush();
    note();
    connection.send(Buffer.from('third'));
    note();
    await new Promise((resolve) => setImmediate(resolve));
    note();
    expect(waiting).toEqual([true, false, true, false]);
    connection.terminate();
  });

  it('a connection delivers queued messages before it closes', async () => {
    const received: number[] = [];
    const { url, connections } = await coordinator({
      onConnection: (connection) => connection.onMessage((data) => received.push(data.length)),
    });
    const worker = await connect({ url, token: TOKEN });
    const ended = new Promise((resolve) => worker.onClose((...ending) => resolve(ending)));
    worker.onMessage(() => undefined);
    for (let count = 0; count < 20; count++) worker.send(Buffer.alloc(1_000_000));
    worker.close(1000, 'goodbye');
    worker.send(Buffer.alloc(1));
    expect(await ended).toEqual([1000, 'goodbye']);
    expect(received).toEqual(Array(20).fill(1_000_000));
    expect(connections).toHaveLength(0);
  });

  it('a connection gives the reason for which the coordinator ended it', async () => {
    const { url, connections } = await coordinator();
    const worker = await connect({ url, token: TOKEN });
    const ended = new Promise((resolve) => worker.onClose((...ending) => resolve(ending)));
    worker.onMessage(() => undefined);
    connections[0]?.close(4401, 'another \u001b[31mversion');
    expect(await ended).toEqual([4401, 'another  [31mversion']);
  });
});

describe('a connection that fails', () => {
  it('a connection to a port where nothing listens is retried', async () => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    expect(await failureOf({ url: `ws://127.0.0.1:${port}` })).toEqual({
      text:
        'error[E_CONNECTION_REFUSED]: nothing listens at HOST (ECONNREFUSED)\n' +
        '  help: start the coordinator, or check host and port',
      exitCode: 5,
      isRetryable: true,
    });
  });

  it('a connection to a host name without an address is retried', async () => {
    const { text, ...rest } = await failureOf({ url: 'ws://coordinator.invalid:8080' });
    expect(text.replace('EAI_AGAIN', 'ENOTFOUND')).toBe(
      'error[E_DNS]: cannot find the address of coordinator.invalid (ENOTFOUND)\n' +
        '  help: check the host name, or give an IP address',
    );
    expect(rest).toEqual({ exitCode: 5, isRetryable: true });
  });

  it('a connection to a standby is retried, and says who leads', async () => {
    const status = {
      isReady: false,
      notReady: 'standby: node1:7700 leads',
      report: () => ({}),
      page: () => Promise.resolve({ text: '', type: 'text/plain' }),
    };
    const { url } = await coordinator({ onConnection: undefined, status });
    expect(await failureOf({ url, token: TOKEN })).toEqual({
      text:
        'error[E_COORDINATOR_STANDBY]: HOST takes no workers (standby: node1:7700 leads)\n' +
        '  help: give the URL of the one that leads too',
      exitCode: 5,
      isRetryable: true,
    });
  });

  it('a connection to a coordinator without a free place is retried', async () => {
    const { url } = await coordinator();
    (await connect({ url, token: TOKEN })).onMessage(() => undefined);
    expect(await failureOf({ url, token: TOKEN })).toEqual({
      text:
        'error[E_COORDINATOR_BUSY]: HOST accepts no workers at the moment (HTTP 503)\n' +
        '  help: it may be starting, or have all the workers it allows',
      exitCode: 5,
      isRetryable: true,
    });
  });

  it('a connection that the peer resets is retried', async () => {
    const url = await startTcpServer((socket) => socket.resetAndDestroy());
    expect(await failureOf({ url })).toEqual({
      text:
        'error[E_CONNECTION_FAILED]: cannot connect to HOST (ECONNRESET)\n' +
        '  help: the log of the coordinator says so if it has turned this machine away; else check the network',
      exitCode: 5,
      isRetryable: true,
    });
  });

  it('a connection whose peer never completes its answer times out and is retried', async () => {
    const url = await startTcpServer((socket) => {
      const drip = setInterval(() => socket.write('H'), 20);
      socket.on('close', () => clearInterval(drip));
      socket.write('HTTP/1.1 101 Switching Protocols\r\nX-Drip: ');
    });
    expect(await failureOf({ url, timeoutMs: 300 })).toEqual({
      text:
        'error[E_CONNECT_TIMEOUT]: HOST did not answer within 0.3 s\n' +
        '  help: check host and port, and whether there is a firewall in between',
      exitCode: 5,
      isRetryable: true,
    });
  });

  it.each([undefined, 'not-the-same-token'])(
    'a connection with the token %s is not retried',
    async (token) => {
      const { url } = await coordinator();
      expect(await failureOf({ url, token })).toEqual({
        text:
          "error[E_UNAUTHORIZED]: HOST does not accept this worker's token\n" +
          '  help: give the coordinator and its workers the same --token-file or LOCKSTEP_TOKEN',
        exitCode: 5,
        isRetryable: false,
      });
    },
  );

  it('a connection to a coordinator of another version is not retried', async () => {
    const url = await httpServer((_request, response) => response.writeHead(426).end());
    expect(await failureOf({ url })).toEqual({
      text:
        'error[E_PROTOCOL_VERSION]: HOST does not speak lockstep.v1\n' +
        '  help: install the same version of lockstep on both sides',
      exitCode: 5,
      isRetryable: false,
    });
  });

  it.each<[string, () => Promise<string>, string]>([
    ['a web server', () => httpServer((_request, response) => response.end('hello')), 'HTTP 200'],
    [
      'a redirect',
      () =>
        httpServer((_request, response) => response.writeHead(302, { Location: 'ws://example.org' }).end()),
      'HTTP 302',
    ],
    [
      'a server of another protocol',
      () => startTcpServer((socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n')),
      'not in HTTP',
    ],
    ['another WebSocket server', otherWebSocketServer, 'Server sent no subprotocol'],
  ])('a connection to %s is not retried', async (_, server, answer) => {
    expect(await failureOf({ url: await server() })).toEqual({
      text:
        `error[E_NOT_A_COORDINATOR]: HOST is not a Lockstep coordinator (it answered: ${answer})\n` +
        '  help: check host and port',
      exitCode: 5,
      isRetryable: false,
    });
  });

  async function otherWebSocketServer(): Promise<string> {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => false });
    server.on('connection', (webSocket) => webSocket.on('error', () => undefined));
    await once(server, 'listening');
    onTestFinished(() => server.close());
    return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  it('a TLS connection to a port without TLS is not retried', async () => {
    const { url } = await coordinator();
    const { text, ...rest } = await failureOf({ url: url.replace('ws:', 'wss:'), token: TOKEN });
    expect(text).toMatch(
      /^error\[E_TLS\]: HOST does not speak TLS \([A-Z_]+\)\n {2}help: a coordinator without .* ws:\/\/HOST$/,
    );
    expect(rest).toEqual({ exitCode: 5, isRetryable: false });
  });

  it('a connection that is aborted fails with the given reason', async () => {
    const url = await startTcpServer(() => undefined);
    const controller = new AbortController();
    const failing = connect({ url, signal: controller.signal });
    setTimeout(() => controller.abort(new Error('enough')), 20);
    await expect(failing).rejects.toThrow(new Error('enough'));
    await expect(connect({ url, signal: controller.signal })).rejects.toThrow(new Error('enough'));
  });
});

describe('an address that cannot be a coordinator', () => {
  const HELP = '\n  help: give ws://HOST:PORT, as the coordinator prints it';
  it.each([
    '',
    'localhost:8080',
    'http://localhost:8080',
    'ws://',
    'ws://localhost:99999',
    'ws://localhost/#x',
  ])('the address %j is refused', async (url) => {
    const error: unknown = await connect({ url }).catch((thrown: unknown) => thrown);
    if (!(error instanceof LockstepError)) throw error;
    expect(formatError(error)).toBe(
      `error[E_URL]: ${JSON.stringify(url)} is not the address of a coordinator${HELP}`,
    );
    expect(error.exitCode).toBe(2);
  });

  it.each(['ws://user:secret@localhost:8080', 'ws://localhost:8080?token=secret'])(
    'the address %j is refused without repeating its secret',
    async (url) => {
      expect(await failureOf({ url })).toEqual({
        text:
          "error[E_URL]: the coordinator's address at localhost:8080 has a password or parameters in it" +
          `${HELP}, and the token with --token-file`,
        exitCode: 2,
        isRetryable: false,
      });
    },
  );
});

describe('the wait before another try', () => {
  it('the wait lies between 250 ms and a ceiling that doubles up to 10 s', () => {
    const ceilings = [0, 1, 2, 3, 4, 5, 6, 1000, 1_000_000].map((attempt) => retryDelayMs(attempt, () => 1));
    expect(ceilings).toEqual([500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000, 10_000]);
    expect(retryDelayMs(0, () => 0)).toBe(250);
    expect(retryDelayMs(9, () => 0)).toBe(250);
    expect(retryDelayMs(9, () => 0.5)).toBe(5125);
  });
});
