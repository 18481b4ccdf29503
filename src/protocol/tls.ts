// TLS 1.3 from PEM files: read, checked, explained in words, and read again when they are renewed.
import { constants, createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket, type SecureContextOptions } from 'node:tls';
import { LockstepError } from '../errors.ts';
import { followFiles, readRegularFileSync, warnIfShared } from '../regular-file.ts';

/** The PEM files of one end of a connection. */
export interface TlsFiles {
  /** The certificate of this end, with those of intermediate authorities after it. */
  readonly cert?: string | undefined;
  /** The private key of `cert`, not encrypted. */
  readonly key?: string | undefined;
  /**
   * Certificates of authorities. A client trusts a server that they vouch for, and no other; a server takes
   * clients that they vouch for, and no other.
   */
  readonly ca?: string | undefined;
}

/** The receiver of what is doubtful, and of what has changed: a logger, or a thread's way to one. */
export interface TlsLog {
  info(message: string): void;
  warn(message: string): void;
}

/** A certificate has a few kilobytes, a bundle of all public authorities some 250. */
const MAX_FILE_BYTES = 2 ** 20;
/** Node.js gives a client two minutes. */
const HANDSHAKE_TIMEOUT_MS = 5000;
const DAY_MS = 86_400_000;
const LAST_DAYS = 14;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Flags whose values are files of TLS. */
export interface TlsFlags {
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
}

/** @throws LockstepError (exit 2) for a certificate without its key, or a key without its certificate */
function tlsFilesOf({ tlsCert: cert, tlsKey: key, tlsCa: ca }: TlsFlags): TlsFiles {
  if ((cert === undefined) !== (key === undefined)) {
    const [given, missing] = cert === undefined ? ['key', 'cert'] : ['cert', 'key'];
    throw tlsError('E_TLS_FLAGS', `--tls-${given} requires --tls-${missing}`, 'give both files');
  }
  return { cert, key, ca };
}

/** The files of a client. @throws LockstepError (exit 2) if all its connections are plain ones, to `ws://` */
export function clientTlsOf(flags: TlsFlags, urls: readonly string[]): TlsFiles {
  const files = tlsFilesOf(flags);
  const isMissing = Object.values(files).every((file) => file === undefined);
  if (isMissing || urls.some((url) => url.startsWith('wss:'))) return files;
  const [url = ''] = urls;
  throw tlsError(
    'E_TLS_FLAGS',
    `${url} is a plain connection, in which files of TLS are of no use`,
    `if the coordinator has a certificate: ${url.replace('ws:', 'wss:')}`,
  );
}

/** The files of a server; undefined where it is to speak without TLS. @throws LockstepError (exit 2) */
export function serverTlsOf(flags: TlsFlags): TlsFiles | undefined {
  const files = tlsFilesOf(flags);
  if (files.cert !== undefined) return files;
  if (files.ca === undefined) return undefined;
  const help = 'give --tls-cert and --tls-key as well, or leave --tls-ca and LOCKSTEP_TLS_CA out';
  throw tlsError(
    'E_TLS_FLAGS',
    '--tls-ca alone makes no secure port: it says whose certificates are taken',
    help,
  );
}

/**
 * Reads and checks the files.
 *
 * @throws LockstepError for files that cannot be read or do not belong together, and for a certificate
 * that is not valid today; what is only doubtful is logged
 */
export function readTls({ cert, key, ca }: TlsFiles, log?: TlsLog): SecureContextOptions {
  const options: SecureContextOptions = { minVersion: 'TLSv1.3' };
  if (ca !== undefined) {
    options.ca = readFile(ca);
    for (const authority of certificatesIn(options.ca, ca)) requireValid(authority, ca);
  }
  if (cert !== undefined && key !== undefined) {
    options.cert = readFile(cert);
    options.key = readFile(key);
    const [own] = certificatesIn(options.cert, cert) as [X509Certificate];
    requireValid(own, cert);
    if (!own.checkPrivateKey(privateKeyIn(options.key, key)))
      throw tlsError(
        'E_TLS_FILE',
        `the key in ${key} is not that of the certificate in ${cert}`,
        'give the two that were made together',
      );
    warnIfShared(key, 'private key', (message) => log?.warn(message));
    const days = Math.floor((Date.parse(own.validTo) - Date.now()) / DAY_MS);
    if (days < LAST_DAYS)
      log?.warn(`the certificate in ${cert} expires on ${own.validTo}: renew it, a restart is not needed`);
  }
  return options;
}

/** A server that speaks HTTP, by TLS or without it. */
type AnyServer = http.Server | https.Server;

/** Has `isToBeServed` look at each connection of a server before a byte of it is read, or a handshake begins. */
export function guardConnections(server: AnyServer, isToBeServed: (socket: Socket) => boolean): void {
  const serve = server.listeners('connection');
  server.removeAllListeners('connection').on('connection', (socket: Socket) => {
    if (isToBeServed(socket)) for (const listener of serve) listener.call(server, socket);
  });
}

/**
 * Makes an HTTP server, which speaks TLS if there are files for it, and then takes renewed ones while it
 * runs. With a `ca`, clients without a certificate of it get as far as `problemOfClient`.
 *
 * @throws LockstepError like `readTls`
 */
export function createHttpServer(
  {
    tls,
    log,
    ...options
  }: http.ServerOptions & { readonly tls?: TlsFiles | undefined; readonly log: TlsLog },
  listener: http.RequestListener,
): AnyServer {
  if (!tls) return http.createServer(options, listener);
  const secure = { ...options, ...readServerTls(tls, log), handshakeTimeout: HANDSHAKE_TIMEOUT_MS };
  // A client that is refused here would be told by an alert that it may not even receive.
  const server = https.createServer(
    { ...secure, requestCert: tls.ca !== undefined, rejectUnauthorized: false },
    listener,
  );
  followRenewals(server, tls, log);
  return server;
}

/**
 * The options of a server. One that asks for certificates resumes no sessions: a resumed one would count as
 * that of a client which has shown a certificate, even if its first connection had none.
 */
function readServerTls(tls: TlsFiles, log: TlsLog): SecureContextOptions {
  const options = readTls(tls, log);
  return tls.ca === undefined ? options : { ...options, secureOptions: constants.SSL_OP_NO_TICKET };
}

/** Says why the certificate of a client does not let it in; undefined if it does. */
export function problemOfClient(socket: unknown): string | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  const { subject } = socket.getPeerCertificate() as { readonly subject?: unknown };
  if (subject === undefined) return 'a client certificate is required';
  if (socket.authorized) return undefined;
  return `its client certificate is not accepted (${String(socket.authorizationError)})`;
}

/** The warning for a port that others reach and that speaks no TLS; `help` keeps its traffic secret. */
export function plainTraffic(host: string, help = 'give --tls-cert and --tls-key'): string {
  return `traffic on ${host} is not encrypted: ${help}, or use it on a network you trust`;
}

function followRenewals(server: https.Server, tls: TlsFiles, log: TlsLog): void {
  const files = [tls.cert, tls.key, tls.ca].filter((file) => file !== undefined);
  const unfollow = followFiles(files, () => {
    try {
      server.setSecureContext(readServerTls(tls, log));
      log.info(`took the renewed certificate in ${tls.cert}`);
    } catch (error) {
      log.warn(`kept the old certificate: ${(error as Error).message}`);
    }
  });
  server.once('close', unfollow);
}

function readFile(file: string): Buffer {
  try {
    return readRegularFileSync(file, MAX_FILE_BYTES);
  } catch (error) {
    throw tlsError(
      'E_TLS_FILE',
      `cannot read ${file}: ${(error as Error).message}`,
      'give the path of a PEM file',
      error,
    );
  }
}

function certificatesIn(pem: Buffer, file: string): X509Certificate[] {
  const found = pem.toString('latin1').match(PEM_CERTIFICATE) ?? [];
  try {
    if (found.length > 0) return found.map((text) => new X509Certificate(text));
  } catch (error) {
    throw tlsError('E_TLS_FILE', `${file} holds a certificate that cannot be read`, PEM_HELP, error);
  }
  throw tlsError('E_TLS_FILE', `${file} holds no certificate`, PEM_HELP);
}

function privateKeyIn(pem: Buffer, file: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    const isEncrypted = pem.includes('ENCRYPTED');
    const what = isEncrypted ? 'a private key that is encrypted' : 'no private key';
    const help = isEncrypted ? `decrypt it: openssl pkey -in ${file} -out key.pem` : PEM_HELP;
    throw tlsError('E_TLS_FILE', `${file} holds ${what}`, help, error);
  }
}

const PEM_HELP =
  'give a PEM file, which has lines such as -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY-----';

function requireValid({ validFrom, validTo }: X509Certificate, file: string): void {
  const help = 'renew it, or set the clock of this machine';
  if (Date.parse(validTo) < Date.now())
    throw tlsError('E_TLS_EXPIRED', `the certificate in ${file} expired on ${validTo}`, help);
  if (Date.parse(validFrom) > Date.now())
    throw tlsError('E_TLS_EXPIRED', `the certificate in ${file} is not valid before ${validFrom}`, help);
}

function tlsError(code: `E_TLS_${string}`, message: string, help: string, cause?: unknown): LockstepError {
  return new LockstepError({ category: 'usage', code, message, help, cause });
}
