// TLS of the coordinator's own port and of a proxy before it: what works, and how a worker reports each
// certificate that does not. None of these errors fixes itself, so a worker does not try again.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { Authority, hasOpenssl } from '../helpers/certificates.ts';
import type { Certificate } from '../helpers/certificates.ts';
import { CliProcess, runCli } from '../helpers/cli.ts';
import { startCoordinator, startWorker, TOKEN } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import { untilSaved } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

/** A proxy with this certificate in front of a port; resolves to its own. */
async function startProxy(certificate: Certificate, options: tls.TlsOptions = {}, port = 9): Promise<number> {
  const sockets = new Set<net.Socket>();
  const { cert, key } = certificate;
  const server = tls.createServer({ cert, key, ...options }, (client) => {
    const upstream = net.connect(port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => [client, upstream].forEach((either) => either.destroy()));
    }
    client.pipe(upstream).pipe(client);
  });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const filesOf = ({ certFile, keyFile }: Certificate): string[] => [
  '--tls-cert',
  certFile,
  '--tls-key',
  keyFile,
];

const portOf = ({ url }: NetworkRun): number => Number(new URL(url).port);

/** What a server answered. */
interface Answer {
  readonly status: number | undefined;
  readonly text: string;
  readonly cookie: string | undefined;
}

/** One request over a connection of its own. */
async function get(url: string, options: https.RequestOptions): Promise<Answer> {
  const request = https.get(url, { agent: false, minVersion: 'TLSv1.3', ...options });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const text = (await response.setEncoding('utf8').toArray()).join('');
  return { status: response.statusCode, text, cookie: response.headers['set-cookie']?.[0] };
}

describe.skipIf(!hasOpenssl)(`wss://${hasOpenssl ? '' : ' (not here: openssl missing)'}`, () => {
  let authority: Authority;
  let other: Authority;

  beforeAll(() => {
    const directories = ['a', 'b'].map(() => fs.mkdtempSync('/tmp/lockstep-tls-'));
    [authority, other] = directories.map((directory) => new Authority(directory)) as [Authority, Authority];
    return () => directories.forEach((directory) => fs.rmSync(directory, { recursive: true }));
  });

  /** A coordinator whose workers must show a certificate. */
  const startMutual = (config = { epochs: 2 }, flags: readonly string[] = []): Promise<NetworkRun> =>
    startCoordinator({
      config,
      flags: [...filesOf(authority.sign('DNS:localhost,IP:127.0.0.1')), '--tls-ca', authority.file, ...flags],
    });
  const workerFlags = (names = 'DNS:worker'): string[] => [
    '--tls-ca',
    authority.file,
    ...filesOf(authority.sign(names)),
  ];

  it('a worker trains a whole run through a proxy that speaks TLS, at a path of its own', async () => {
    const run = await startCoordinator({ config: { epochs: 2 } });
    const port = await startProxy(authority.sign('DNS:localhost'), {}, portOf(run));
    const env = { NODE_EXTRA_CA_CERTS: authority.file };
    const worker = startWorker(run, `wss://localhost:${port}/lockstep/`, { env });
    await expectUndisturbedEnd(run, { epochs: 2 });
    expect((await worker.finished).exitCode).toBe(0);
  });

  it('workers with certificates train a whole run at a coordinator with one', async () => {
    const run = await startMutual({ epochs: 2 }, ['--min-workers', '2']);
    expect(run.url).toMatch(/^wss:/);
    const workers = [0, 1].map(() => startWorker(run, run.url, { flags: workerFlags() }));
    await expectUndisturbedEnd(run, { epochs: 2 });
    for (const worker of workers) expect((await worker.finished).exitCode).toBe(0);
    expect(run.command.stderr).toMatch(/--token-file FILE --tls-ca FILE --tls-cert FILE --tls-key FILE/);
  });

  it('workers of a tree reach each other by TLS', async () => {
    const run = await startMutual({ epochs: 2 }, [
      '--topology',
      'tree',
      '--fan-in',
      '2',
      '--min-workers',
      '4',
    ]);
    const flags = [...workerFlags('DNS:localhost,IP:127.0.0.1'), '--listen', '127.0.0.1:0'];
    const workers = [0, 1, 2, 3].map(() => startWorker(run, run.url, { flags }));
    await expectUndisturbedEnd(run, { epochs: 2 });
    for (const worker of workers) expect((await worker.finished).exitCode).toBe(0);
    const connections = workers.flatMap(
      ({ stderr }) => stderr.match(/connected to wss:\/\/127\.0\.0\.1:\d+/g) ?? [],
    );
    expect(connections.filter((line) => !line.endsWith(`:${portOf(run)}`))).not.toEqual([]);
  });

  it('a coordinator takes a renewed certificate while it runs, and keeps the old one until both files fit', async () => {
    const certificate = authority.sign('DNS:localhost,IP:127.0.0.1');
    const run = await startCoordinator({ config: { epochs: 2 }, flags: filesOf(certificate) });
    const renewed = other.sign('DNS:localhost,IP:127.0.0.1');
    fs.copyFileSync(renewed.keyFile, certificate.keyFile);
    await run.command.untilStderr(/kept the old certificate: the key in .* is not that of the certificate/);
    fs.copyFileSync(renewed.certFile, certificate.certFile);
    await run.command.untilStderr(/took the renewed certificate/);
    const worker = startWorker(run, run.url, { flags: ['--tls-ca', other.file] });
    await expectUndisturbedEnd(run, { epochs: 2 });
    expect((await worker.finished).exitCode).toBe(0);
  });

  interface Trouble {
    readonly what: string;
    readonly names?: string;
    readonly days?: number;
    readonly isTrusted?: boolean;
    readonly proxy?: tls.TlsOptions;
    readonly error: RegExp;
    readonly help: RegExp;
  }

  it.each<Trouble>([
    {
      what: 'a certificate of an unknown authority',
      isTrusted: false,
      error:
        /the certificate of localhost:\d+ is signed by an authority that this worker does not know \((UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN)\)/,
      help: /if it is an authority of yours, name it: --tls-ca ca\.pem/,
    },
    {
      what: 'a certificate for another name',
      names: 'DNS:elsewhere.example',
      error:
        /the certificate of localhost:\d+ is for other names: DNS:elsewhere\.example \(ERR_TLS_CERT_ALTNAME_INVALID\)/,
      help: /use one of them in the URL, or have it issued for this one/,
    },
    {
      what: 'an expired certificate',
      days: -1,
      error: /the certificate of localhost:\d+ has expired \(CERT_HAS_EXPIRED\)/,
      help: /renew it, or set the clock of this machine/,
    },
    {
      what: 'a proxy that wants a client certificate',
      proxy: { requestCert: true, rejectUnauthorized: true },
      error:
        /localhost:\d+ does not accept the certificate of this worker, or wants one \(ERR_SSL_\w*ALERT\w*\)/,
      help: /give --tls-cert and --tls-key of an authority that it knows/,
    },
    {
      what: 'a proxy without TLS 1.3',
      proxy: { maxVersion: 'TLSv1.2' },
      error: /localhost:\d+ does not speak TLS 1\.3 \(\w+\)/,
      help: /let the proxy there allow it/,
    },
  ])(
    'a worker reports $what and does not try again',
    async ({ names = 'DNS:localhost', days, isTrusted = true, proxy, error, help }) => {
      const port = await startProxy(authority.sign(names, days), proxy);
      const flags = isTrusted ? ['--tls-ca', authority.file] : [];
      const { exitCode, stderr } = await runCli(['worker', `wss://localhost:${port}`, ...flags], {
        cwd: temporaryDirectory(),
      });
      expect(stderr).toMatch(new RegExp(`^error\\[E_TLS\\]: ${error.source}\\n  help: ${help.source}\\n$`));
      expect(exitCode).toBe(5);
    },
  );

  it.each([
    { what: 'without a certificate', flags: () => [], answer: 'a client certificate is required' },
    {
      what: 'with a certificate of another authority',
      flags: () => filesOf(other.sign('DNS:worker')),
      answer: 'its client certificate is not accepted \\(UNABLE_TO_VERIFY_LEAF_SIGNATURE\\)',
    },
  ])(
    'a coordinator that wants certificates turns a worker $what away, and both say so',
    async ({ flags, answer }) => {
      const run = await startMutual();
      const refused = startWorker(run, run.url, { flags: ['--tls-ca', authority.file, ...flags()] });
      const { exitCode, stderr } = await refused.finished;
      expect(stderr).toMatch(
        new RegExp(
          `error\\[E_FORBIDDEN\\]: 127\\.0\\.0\\.1:\\d+ turned this worker away: ${answer}\\n  help: give --tls-cert`,
        ),
      );
      expect(exitCode).toBe(5);
      await run.command.untilStderr(new RegExp(`127\\.0\\.0\\.1 was turned away: ${answer}`));
      startWorker(run, run.url, { flags: workerFlags() });
      await expectUndisturbedEnd(run, { epochs: 2 });
    },
  );

  it('a client without a certificate is turned away in a resumed session too', async () => {
    const run = await startMutual();
    const ca = fs.readFileSync(authority.file);
    const options = { port: portOf(run), host: '127.0.0.1', servername: 'localhost', ca };
    let session: Buffer | undefined;
    for (let attempt = 0; attempt < 3; attempt++) {
      const socket = tls.connect({ ...options, minVersion: 'TLSv1.3', session });
      socket.on('session', (ticket: Buffer) => (session = ticket));
      socket.write(
        `GET /status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\nConnection: close\r\n\r\n`,
      );
      const answer = (await socket.setEncoding('latin1').toArray()).join('');
      expect(answer).toMatch(/^HTTP\/1\.1 403 [^]*a client certificate is required\n/);
    }
    startWorker(run, run.url, { flags: workerFlags() });
    await expectUndisturbedEnd(run, { epochs: 2 });
  });

  it('lockstep serve takes clients with a certificate by TLS, and a renewed certificate while it runs', async () => {
    const cwd = tableRun();
    expect((await runCli(['train', 'table.yaml', '--run-dir', 'run'], { cwd })).exitCode).toBe(0);
    const certificate = authority.sign('DNS:localhost,IP:127.0.0.1');
    const flags = ['--port', '0', ...filesOf(certificate), '--tls-ca', authority.file];
    const command = CliProcess.start(['serve', 'run', ...flags], { cwd });
    const [, url] = await command.untilStderr(/serving \S+ on (https:\/\/127\.0\.0\.1:\d+)/);
    const ca = fs.readFileSync(authority.file);
    const { key, cert } = authority.sign('DNS:client');
    expect(await get(`${url}/health`, { ca })).toMatchObject({ status: 200 });
    const refused = await get(`${url}/model`, { ca });
    expect([refused.status, JSON.parse(refused.text)]).toEqual([
      403,
      { error: { code: 'E_CLIENT_CERTIFICATE', message: 'a client certificate is required' } },
    ]);
    expect(await get(`${url}/model`, { ca, key, cert })).toMatchObject({ status: 200 });
    const renewed = other.sign('DNS:localhost,IP:127.0.0.1');
    fs.copyFileSync(renewed.keyFile, certificate.keyFile);
    fs.copyFileSync(renewed.certFile, certificate.certFile);
    await command.untilStderr(/took the renewed certificate/);
    await expect(get(`${url}/model`, { ca, key, cert })).rejects.toThrow(/certificate/);
    const trusted = { ca: fs.readFileSync(other.file), key, cert };
    expect(await get(`${url}/model`, trusted)).toMatchObject({ status: 200 });
    expect(await get(`${url}/model`, { ca: trusted.ca })).toMatchObject({ status: 403 });
    command.signal('SIGINT');
    expect((await command.finished).exitCode).toBe(130);
  });

  it('a dashboard speaks TLS, that of a run as well, and its cookie is for secure connections alone', async () => {
    const cwd = tableRun();
    fs.writeFileSync(path.join(cwd, 'token.txt'), TOKEN, { mode: 0o600 });
    const tlsFlags = filesOf(authority.sign('DNS:localhost,IP:127.0.0.1'));
    const run = CliProcess.start(
      ['train', 'table.yaml', '--run-dir', 'run', '--dashboard', '0', '--set', 'epochs=200', ...tlsFlags],
      { cwd },
    );
    const [, urlOfRun] = await run.untilStderr(/dashboard on (https:\/\/127\.0\.0\.1:\d+)\//);
    const ca = fs.readFileSync(authority.file);
    expect(await get(`${urlOfRun}/`, { ca })).toMatchObject({ status: 200 });
    expect((await run.finished).exitCode).toBe(0);

    const flags = ['--listen', '0.0.0.0:0', '--token-file', 'token.txt', ...tlsFlags];
    const command = CliProcess.start(['dashboard', 'run', ...flags, '--tls-ca', authority.file], { cwd });
    const [, port] = await command.untilStderr(/run on https:\/\/0\.0\.0\.0:(\d+)\/\?token=TOKEN/);
    const url = `https://localhost:${port}`;
    expect(await get(`${url}/healthz`, { ca })).toMatchObject({ status: 200 });
    expect(await get(`${url}/?token=${TOKEN}`, { ca })).toMatchObject({
      status: 403,
      text: 'a client certificate is required\n',
    });
    const { key, cert } = authority.sign('DNS:browser');
    const first = await get(`${url}/?token=${TOKEN}`, { ca, key, cert });
    expect(first.status).toBe(303);
    expect(first.cookie).toMatch(/; HttpOnly; samesite=strict; Path=\/; Secure$/);
    const headers = { cookie: first.cookie?.split(';')[0] };
    expect(await get(`${url}/config.yaml`, { ca, key, cert, headers })).toMatchObject({ status: 200 });
    expect(await get(`${url}/config.yaml`, { ca, key, cert })).toMatchObject({ status: 401 });
    expect(command.stderr).not.toMatch(/not encrypted/);
    command.signal('SIGINT');
    expect((await command.finished).exitCode).toBe(130);
  });

  it('a coordinator with certificates has them for its dashboard, which asks no browser of this machine for one', async () => {
    const run = await startMutual({ epochs: 2 }, ['--dashboard', '0']);
    const [, url] = await run.command.untilStderr(/dashboard on (https:\/\/127\.0\.0\.1:\d+)\//);
    const ca = fs.readFileSync(authority.file);
    expect(await get(`${url}/`, { ca })).toMatchObject({ status: 200 });
    startWorker(run, run.url, { flags: workerFlags() });
    await expectUndisturbedEnd(run, { epochs: 2 });
  });

  it('a worker that uses ws:// for a port with TLS is told its URL, and the coordinator says what came', async () => {
    const run = await startMutual();
    const { exitCode, stderr } = await startWorker(run, run.url.replace('wss:', 'ws:')).finished;
    expect(stderr).toMatch(
      /error\[E_TLS\]: 127\.0\.0\.1:\d+ speaks TLS\n {2}help: its URL is wss:\/\/127\.0\.0\.1:\d+\/\n/,
    );
    expect(exitCode).toBe(5);
    await run.command.untilStderr(/was turned away: this port speaks TLS, and its URL begins with wss:\/\//);
    startWorker(run, run.url, { flags: workerFlags() });
    await expectUndisturbedEnd(run, { epochs: 2 });
  });

  it('a worker that uses wss:// for a port without TLS is told its URL', async () => {
    const run = await startCoordinator({ config: { epochs: 2 } });
    const { exitCode, stderr } = await startWorker(run, run.url.replace('ws:', 'wss:')).finished;
    expect(stderr).toMatch(
      /error\[E_TLS\]: 127\.0\.0\.1:\d+ does not speak TLS \(\w+\)\n {2}help: .*ws:\/\/127\.0\.0\.1:\d+\n/,
    );
    expect(exitCode).toBe(5);
    startWorker(run);
    await expectUndisturbedEnd(run, { epochs: 2 });
  });

  it('a worker that was connected comes back to a coordinator whose certificate was wrong for a while', async () => {
    const files = authority.sign('DNS:localhost,IP:127.0.0.1');
    const run = await startCoordinator({ flags: filesOf(files) });
    const authorityFile = path.join(run.cwd, 'ca.pem');
    fs.copyFileSync(authority.file, authorityFile);
    const worker = startWorker(run, run.url, { flags: ['--tls-ca', authorityFile] });
    await untilSaved(run.command, run.directory);
    fs.copyFileSync(other.file, authorityFile);
    run.command.signal('SIGKILL');
    const port = String(portOf(run));
    const again = await startCoordinator({
      cwd: run.cwd,
      port: Number(port),
      flags: [...filesOf(files), '--resume', 'last'],
    });
    await worker.untilStderr(/is signed by an authority that this worker does not know .*retrying/);
    fs.copyFileSync(authority.file, authorityFile);
    await expectUndisturbedEnd(again);
    expect((await worker.finished).exitCode).toBe(0);
  });

  it('the certificates of lockstep certs satisfy openssl, and a second call renews them by the same authority', async () => {
    const cwd = temporaryDirectory();
    const make = async (): Promise<string> => {
      const flags = [
        '--host',
        'node1.example.org',
        '--host',
        '10.0.0.5',
        '--worker',
        'node2',
        '--days',
        '30',
      ];
      expect(await runCli(['certs', 'tls', ...flags], { cwd })).toMatchObject({ exitCode: 0 });
      return fs.readFileSync(path.join(cwd, 'tls/ca.pem'), 'utf8');
    };
    const openssl = (...args: string[]): string =>
      execFileSync('openssl', args, { cwd: path.join(cwd, 'tls'), encoding: 'utf8' });
    const first = await make();
    const before = openssl('x509', '-in', 'coordinator.pem', '-noout', '-serial');
    expect(await make()).toBe(first);
    expect(openssl('x509', '-in', 'coordinator.pem', '-noout', '-serial')).not.toBe(before);
    expect(openssl('verify', '-x509_strict', '-CAfile', 'ca.pem', 'coordinator.pem', 'node2.pem')).toBe(
      'coordinator.pem: OK\nnode2.pem: OK\n',
    );
    expect(openssl('x509', '-in', 'coordinator.pem', '-noout', '-ext', 'subjectAltName')).toMatch(
      /DNS:node1\.example\.org, IP Address:10\.0\.0\.5, DNS:localhost/,
    );
    for (const name of ['ca-key.pem', 'coordinator-key.pem', 'node2-key.pem'])
      expect(fs.statSync(path.join(cwd, 'tls', name)).mode & 0o777).toBe(0o600);
  });

  it('workers with the certificates of lockstep certs train a whole run', async () => {
    const cwd = temporaryDirectory();
    expect(await runCli(['certs', 'tls', '--host', 'localhost'], { cwd })).toMatchObject({ exitCode: 0 });
    const file = (name: string): string => path.join(cwd, 'tls', name);
    const files = (name: string): string[] => [
      '--tls-ca',
      file('ca.pem'),
      '--tls-cert',
      file(`${name}.pem`),
      '--tls-key',
      file(`${name}-key.pem`),
    ];
    const run = await startCoordinator({ config: { epochs: 2 }, flags: files('coordinator') });
    const worker = startWorker(run, `wss://localhost:${portOf(run)}`, { flags: files('worker') });
    await expectUndisturbedEnd(run, { epochs: 2 });
    expect((await worker.finished).exitCode).toBe(0);
  });
});
