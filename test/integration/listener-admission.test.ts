// Clients that the coordinator's port admits, those that it rejects before a WebSocket exists, and ports
// that cannot be opened.
import net from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ListenOptions } from '../../coordinator/cluster/listener.ts';
import { formatError, LockstepError } from '../../src/errors.ts';
import { tokenSubprotocol } from '../../src/protocol/tab-token.ts';
import { connect } from '../../worker/connection.ts';
import {
  AUTHORIZATION,
  connectGood,
  exchange,
  listenEchoing,
  listenersOf,
  TOKEN,
  until,
  useEchoListener,
} from '../helpers/echo-listener.ts';
import { RawClient, upgradeRequest } from '../helpers/raw-client.ts';

const echo = useEchoListener();

describe('the admission of clients', () => {
  it.each([
    ['without a token', {}, 'HTTP/1.1 401 Unauthorized', 'a token is required\n'],
    [
      'with a wrong token',
      { Authorization: `Bearer ${TOKEN}x` },
      'HTTP/1.1 401 Unauthorized',
      'wrong token\n',
    ],
    [
      'with another authorization scheme',
      { Authorization: `Basic ${TOKEN}` },
      'HTTP/1.1 401 Unauthorized',
      'wrong token\n',
    ],
    [
      'in a browser',
      { ...AUTHORIZATION, Origin: 'https://example.org' },
      'HTTP/1.1 403 Forbidden',
      'browsers cannot be workers\n',
    ],
    [
      'without a subprotocol',
      { ...AUTHORIZATION, 'Sec-WebSocket-Protocol': '' },
      'HTTP/1.1 426 Upgrade Required',
      'only lockstep.v1 is spoken here\n',
    ],
    [
      'with another subprotocol',
      { ...AUTHORIZATION, 'Sec-WebSocket-Protocol': 'lockstep.v2' },
      'HTTP/1.1 426 Upgrade Required',
      'only lockstep.v1 is spoken here\n',
    ],
  ])('a client %s is rejected before the handshake', async (_, headers, statusLine, body) => {
    const client = await RawClient.open(echo.port.port);
    client.socket.write(upgradeRequest(headers));
    await client.untilClosed();
    expect(client.statusLine).toBe(statusLine);
    expect(client.afterHead.toString()).toBe(body);
    expect(echo.port.accepted).toHaveLength(1);
  });

  it('a client is rejected while all places are taken', async () => {
    for (let worker = 1; worker < 4; worker++) listenersOf(await connectGood(echo.port));
    const client = await RawClient.open(echo.port.port);
    client.socket.write(upgradeRequest(AUTHORIZATION));
    await client.untilClosed();
    expect(client.statusLine).toBe('HTTP/1.1 503 Service Unavailable');
    expect(client.afterHead.toString()).toBe('all 4 places for workers are taken\n');
  });

  it('a client with a broken handshake is rejected', async () => {
    const client = await RawClient.open(echo.port.port);
    client.socket.write(upgradeRequest({ ...AUTHORIZATION, 'Sec-WebSocket-Key': 'short' }));
    await client.untilClosed();
    expect(client.statusLine).toBe('HTTP/1.1 400 Bad Request');
  });

  it('a client that sends garbage is rejected', async () => {
    const client = await RawClient.open(echo.port.port);
    client.socket.write(Buffer.from(Array.from({ length: 2000 }, (_, index) => (index * 167) & 255)));
    await client.untilClosed();
    expect(client.statusLine).toBe('HTTP/1.1 400 Bad Request');
  });

  it('a client with too long headers is rejected', async () => {
    const client = await RawClient.open(echo.port.port);
    client.socket.write(upgradeRequest({ ...AUTHORIZATION, 'X-Long': 'x'.repeat(9000) }));
    await client.untilClosed();
    expect(client.statusLine).toBe('HTTP/1.1 431 Request Header Fields Too Large');
  });

  it('a client that sends no complete handshake within 5 s is cut off', async () => {
    const silent = await RawClient.open(echo.port.port);
    const dripping = await RawClient.open(echo.port.port);
    const request = upgradeRequest(AUTHORIZATION);
    let position = 0;
    const drip = setInterval(() => dripping.socket.write(request.charAt(position++)), 100);
    onTestFinished(() => clearInterval(drip));
    const times = await Promise.all([silent.untilClosed(), dripping.untilClosed()]);
    expect(Math.max(...times)).toBeLessThan(5000);
    expect(echo.port.accepted).toHaveLength(1);
  });

  it('a client is rejected while its address has too many sockets without a token', async () => {
    const crowd = Array.from({ length: 66 }, () => net.connect(echo.port.port, '127.0.0.1'));
    const closed = new Set<net.Socket>();
    for (const socket of crowd) {
      socket.on('error', () => undefined).on('close', () => closed.add(socket));
      socket.resume();
      onTestFinished(() => void socket.destroy());
    }
    await until(() => closed.size >= 2);
    expect(closed.size).toBe(2);
    for (const socket of crowd) socket.destroy();
    await until(() => closed.size === 66);
    const worker = await connectGood(echo.port);
    expect(await exchange(worker, Buffer.from('x'))).toEqual(Buffer.from('x'));
  });
});

describe('an address that connects too often', () => {
  // Elsewhere this machine has one loopback address.
  it.skipIf(process.platform !== 'linux')(
    'an address that connects too often is left without an answer, and another one is served',
    async () => {
      const isAnswered = async (): Promise<boolean> => {
        const client = await RawClient.open(echo.port.port);
        client.socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
        await client.untilClosed();
        return client.statusLine === 'HTTP/1.1 200 OK';
      };
      const startMs = performance.now();
      let numAnswered = 0;
      // Of several at a time, since a busy machine would let one after the other through for ever.
      for (let isServed = true; isServed;) {
        const answers = await Promise.all(Array.from({ length: 8 }, isAnswered));
        numAnswered += answers.filter(Boolean).length;
        isServed = !answers.includes(false);
        if (performance.now() - startMs > 50_000) throw new Error('all were answered');
      }
      expect(numAnswered).toBeGreaterThanOrEqual(512);
      const other = net.connect({ port: echo.port.port, host: '127.0.0.1', localAddress: '127.0.0.2' });
      onTestFinished(() => void other.destroy());
      other.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
      expect((await other.setEncoding('latin1').toArray()).join('')).toMatch(/^HTTP\/1\.1 200 OK/);
    },
  );
});

describe('the page that makes a tab a worker', () => {
  const browserWorkers = { isTokenNew: false };
  const subprotocols = (token: string): string => `lockstep.v1, ${tokenSubprotocol(token)}`;

  /** Opens a port, and asks it for a WebSocket as a tab would; resolves to the answer. */
  async function joinAs(
    headers: Readonly<Record<string, string>>,
    options: Partial<ListenOptions> = {},
  ): Promise<string> {
    const port = await listenEchoing({ browserWorkers, ...options });
    onTestFinished(() => port.close());
    const client = await RawClient.open(port.port);
    const named = Object.entries(headers).map(([name, value]) => [
      name,
      value.replace('PORT', `${port.port}`),
    ]);
    client.socket.write(upgradeRequest(Object.fromEntries(named) as Record<string, string>));
    await client.untilReceived('\r\n\r\n');
    const { statusLine } = client;
    if (statusLine.includes(' 101 ')) return 'taken';
    await client.untilClosed();
    return `${statusLine.split(' ')[1]} ${client.afterHead.toString().trim()}`;
  }

  const HERE = { Host: '127.0.0.1:PORT', Origin: 'http://127.0.0.1:PORT' };
  const SHOWN = { 'Sec-WebSocket-Protocol': subprotocols(TOKEN) };
  const OTHER = '403 the page of another origin cannot be a worker';

  it.each<[string, Record<string, string>, Partial<ListenOptions>, string]>([
    ['of its own origin is taken', { ...HERE, ...SHOWN }, {}, 'taken'],
    ['without a token is refused', HERE, {}, '401 a token is required'],
    [
      'with a wrong token is refused',
      { ...HERE, 'Sec-WebSocket-Protocol': subprotocols('wrong') },
      {},
      '401 wrong token',
    ],
    ['of another host is refused', { ...HERE, ...SHOWN, Origin: 'http://example.org' }, {}, OTHER],
    ['of another port is refused', { ...HERE, ...SHOWN, Origin: 'http://127.0.0.1:1' }, {}, OTHER],
    ['of another scheme is refused', { ...HERE, ...SHOWN, Origin: 'https://127.0.0.1:PORT' }, {}, OTHER],
    ['of no origin is refused', { ...HERE, ...SHOWN, Origin: 'null' }, {}, OTHER],
    [
      'of the public URL is taken',
      { ...SHOWN, Host: '10.0.0.1:7', Origin: 'https://example.org' },
      { publicUrl: 'wss://example.org/lockstep/' },
      'taken',
    ],
    [
      'is refused where there is no page',
      { ...HERE, ...SHOWN },
      { browserWorkers: undefined },
      '403 browsers cannot be workers',
    ],
    ['is taken without a token by the name of this machine', HERE, { token: undefined }, 'taken'],
    [
      'is refused without a token by a name that leads here',
      { Host: 'example.org:PORT', Origin: 'http://example.org:PORT' },
      { token: undefined },
      OTHER,
    ],
  ])('a tab %s', async (_, headers, options, expected) => {
    expect(await joinAs(headers, options)).toBe(expected);
  });

  it('a worker of Node.js shows its token in a header, not as a subprotocol', async () => {
    expect(await joinAs(SHOWN)).toBe('401 a token is required');
  });

  it('the page and its files are served with strict headers, at any path, and only where they are wanted', async () => {
    const port = await listenEchoing({ browserWorkers });
    onTestFinished(() => port.close());
    const get = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${port.port}${path}`);
    for (const path of ['/join', '/a/path/join', '/join/tab.js', '/join/kernels-strict.wasm']) {
      const { status, headers } = await get(path);
      expect([status, headers.get('cache-control')]).toEqual([200, 'no-store']);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('x-frame-options')).toBe('DENY');
      const policy = headers.get('content-security-policy') ?? '';
      expect(policy).toMatch(/^default-src 'none'; .*frame-ancestors 'none'$/);
      expect(policy).not.toMatch(/unsafe-inline|unsafe-eval'(?<!wasm-unsafe-eval')|\*/);
    }
    expect(await (await get('/join')).text()).toContain('<title>Lockstep worker</title>');
    expect((await get('/join/none.js')).status).toBe(404);
    expect((await fetch(`http://127.0.0.1:${echo.port.port}/join`)).status).toBe(404);
    expect((await fetch(`http://127.0.0.1:${echo.port.port}/join/tab.js`)).status).toBe(404);
  });

  it.each([
    [AUTHORIZATION, {}, 200, 'workers are taken'],
    [{}, {}, 401, 'a token is required'],
    [{ Authorization: 'Bearer wrong' }, {}, 401, 'wrong token'],
    [AUTHORIZATION, { onConnection: undefined }, 503, 'the run is being prepared'],
    [AUTHORIZATION, { maxWorkers: 0 }, 503, 'all 0 places for workers are taken'],
    [
      AUTHORIZATION,
      { browserWorkers: undefined },
      404,
      'a Lockstep coordinator: workers connect by WebSocket',
    ],
  ] as const)(
    'a tab that is refused may ask why: %o %o',
    async (headers, options: Partial<ListenOptions>, status, text) => {
      const port = await listenEchoing({ browserWorkers, ...options });
      onTestFinished(() => port.close());
      const response = await fetch(`http://127.0.0.1:${port.port}/a/join/admission`, { headers });
      expect([response.status, (await response.text()).trim()]).toEqual([status, text]);
    },
  );
});

describe('the port', () => {
  it('questions about the run within a second get the same answer', async () => {
    let numAsked = 0;
    const port = await listenEchoing({
      status: {
        isReady: true,
        notReady: '',
        report: () => ({ numAsked: ++numAsked }),
        page: () => Promise.resolve({ text: '', type: 'text/plain' }),
      },
    });
    onTestFinished(() => port.close());
    const ask = async (): Promise<unknown> =>
      (await fetch(`http://127.0.0.1:${port.port}/status`, { headers: AUTHORIZATION })).json();
    expect(await Promise.all([ask(), ask(), ask()])).toEqual(Array(3).fill({ numAsked: 1 }));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(await ask()).toEqual({ numAsked: 2 });
  });

  it('the port answers a health check and no other request', async () => {
    const healthy = await fetch(`http://127.0.0.1:${echo.port.port}/healthz`);
    expect([healthy.status, await healthy.text()]).toEqual([200, 'ok']);
    const other = await fetch(`http://127.0.0.1:${echo.port.port}/`);
    expect([other.status, await other.text()]).toEqual([
      404,
      'a Lockstep coordinator: workers connect by WebSocket\n',
    ]);
  });

  async function errorOf(options: Partial<ListenOptions>): Promise<{ text: string; exitCode: number }> {
    const error: unknown = await listenEchoing(options).catch((thrown: unknown) => thrown);
    if (!(error instanceof LockstepError)) throw error;
    return { text: formatError(error), exitCode: error.exitCode };
  }

  it('a port that is in use is refused', async () => {
    expect(await errorOf({ port: echo.port.port })).toEqual({
      text: `error[E_PORT_IN_USE]: port ${echo.port.port} on 127.0.0.1 is in use\n  help: port 0 picks a free one`,
      exitCode: 5,
    });
  });

  it('an address of another machine is refused', async () => {
    expect(await errorOf({ host: '192.0.2.1' })).toEqual({
      text:
        'error[E_LISTEN]: cannot listen on port 0 of 192.0.2.1 (EADDRNOTAVAIL)\n' +
        '  help: give the address of an interface of this machine, and a port of 1024 or above',
      exitCode: 5,
    });
  });

  it.each(['0.0.0.0', '::', '10.0.0.1', 'example.org'])(
    'a port on %s is refused without a token',
    async (host) => {
      expect(await errorOf({ host, token: undefined })).toEqual({
        text:
          `error[E_TOKEN_REQUIRED]: listening on ${host} without a token would let anyone join who reaches the port\n` +
          '  help: give --token-file FILE or set LOCKSTEP_TOKEN, or listen on 127.0.0.1',
        exitCode: 2,
      });
    },
  );

  it.each(['127.0.0.1', 'localhost'])('a port on %s needs no token', async (host) => {
    const open = await listenEchoing({ host, token: undefined });
    const worker = await connect({ url: `ws://${host}:${open.port}` });
    expect(await exchange(worker, Buffer.from('x'))).toEqual(Buffer.from('x'));
    await open.close();
  });

  it('the port admits 50 workers that connect at once', async () => {
    const large = await listenEchoing({ maxWorkers: 50 });
    const workers = await Promise.all(Array.from({ length: 50 }, () => connectGood(large)));
    for (const worker of workers) expect((await exchange(worker, Buffer.from('x'))).length).toBe(1);
    await large.close();
  });
});
