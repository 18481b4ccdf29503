// A coordinator behind a proxy that adds TLS, as `wss://` expects: what works, and how a worker reports each
// certificate that does not. None of these errors fixes itself, so a worker does not try again.
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { Authority, hasOpenssl } from '../helpers/certificates.ts';
import type { Certificate } from '../helpers/certificates.ts';
import { CliProcess, runCli } from '../helpers/cli.ts';
import { startCoordinator, startWorker } from '../helpers/network-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

/** A proxy with this certificate in front of a port; resolves to its own. */
async function startProxy(certificate: Certificate, options: tls.TlsOptions = {}, port = 9): Promise<number> {
  const sockets = new Set<net.Socket>();
  const server = tls.createServer({ ...certificate, ...options }, (client) => {
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

describe.skipIf(!hasOpenssl)(`wss://${hasOpenssl ? '' : ' (not here: openssl missing)'}`, () => {
  let authority: Authority;

  beforeAll(() => {
    const directory = fs.mkdtempSync('/tmp/lockstep-tls-');
    authority = new Authority(directory);
    return () => fs.rmSync(directory, { recursive: true });
  });

  it('a worker trains a whole run over wss://', async () => {
    const run = await startCoordinator({ config: { epochs: 2 } });
    const port = await startProxy(authority.sign('DNS:localhost'), {}, Number(new URL(run.url).port));
    const env = { NODE_EXTRA_CA_CERTS: authority.file };
    const worker = startWorker(run, `wss://localhost:${port}`, { env });
    await expectUndisturbedEnd(run, { epochs: 2 });
    expect((await worker.finished).exitCode).toBe(0);
  });

  interface Trouble {
    readonly what: string;
    readonly names?: string;
    readonly days?: number;
    readonly isTrusted?: boolean;
    readonly proxy?: tls.TlsOptions;
    readonly code: RegExp;
    readonly help: RegExp;
  }

  it.each<Trouble>([
    {
      what: 'a certificate of an unknown authority',
      isTrusted: false,
      code: /UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN/,
      help: /name the authority that signed its certificate: NODE_EXTRA_CA_CERTS=ca\.pem lockstep worker/,
    },
    {
      what: 'a certificate for another name',
      names: 'DNS:elsewhere.example',
      code: /ERR_TLS_CERT_ALTNAME_INVALID/,
      help: /use a host name that its certificate is issued for/,
    },
    {
      what: 'an expired certificate',
      days: -1,
      code: /CERT_HAS_EXPIRED/,
      help: /renew its certificate, or set the clock of this machine/,
    },
    {
      what: 'a request for a client certificate',
      proxy: { requestCert: true, rejectUnauthorized: true },
      code: /ERR_SSL_\w*ALERT\w*/,
      help: /localhost:\d+ requires a client certificate, which a worker does not have: let a tunnel/,
    },
  ])(
    'a worker reports $what and does not try again',
    async ({ names = 'DNS:localhost', days, isTrusted = true, proxy, code, help }) => {
      const port = await startProxy(authority.sign(names, days), proxy);
      const env = isTrusted ? { NODE_EXTRA_CA_CERTS: authority.file } : {};
      const { exitCode, stderr } = await runCli(['worker', `wss://localhost:${port}`], {
        cwd: temporaryDirectory(),
        env,
      });
      expect(stderr).toMatch(
        new RegExp(
          `^error\\[E_TLS\\]: cannot make a secure connection to localhost:\\d+ \\((?:${code.source})\\)\\n` +
            `  help: ${help.source}[^\\n]*\\n$`,
        ),
      );
      expect(exitCode).toBe(5);
    },
  );

  it('a worker that uses ws:// for a TLS port is told to use wss://', async () => {
    const port = await startProxy(authority.sign('DNS:localhost'));
    const worker = CliProcess.start(['worker', `ws://localhost:${port}`], { cwd: temporaryDirectory() });
    await worker.untilStderr(
      /cannot connect to localhost:\d+ \(ECONNRESET\) .*reached by wss:\/\/\); retrying|E_NOT_A_COORDINATOR/,
    );
    worker.signal('SIGTERM');
    expect([5, 143]).toContain((await worker.finished).exitCode);
  });
});
