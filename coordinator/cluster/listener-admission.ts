// Who may become a worker: decided from the HTTP request alone, before a WebSocket exists.
import { STATUS_CODES } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { isIPv6, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { LockstepError } from '../../src/errors.ts';
import { httpUrl, isLoopback, namesLoopback } from '../../src/protocol/connection.ts';
import { SUBPROTOCOL } from '../../src/protocol/limits.ts';
import { authorizationIn } from '../../src/protocol/tab-token.ts';
import { isAuthorized } from '../../src/protocol/token.ts';
import type { WorkerTokens } from '../../src/protocol/worker-tokens.ts';
import { problemOfClient } from '../../src/protocol/tls.ts';

/** The reason for turning a request away: an HTTP status and one line of text. */
export interface Refusal {
  readonly status: 401 | 403 | 426 | 503;
  readonly message: string;
}

/** The proofs that a port asks for. */
export interface Proofs {
  readonly token: string | undefined;
  readonly workerTokens: WorkerTokens | undefined;
  readonly requiresCertificate: boolean;
  /** The addresses of the page whose tabs may be workers; undefined where there is no page. */
  readonly page?: PageAddress | undefined;
}

/** The addresses by which a browser has the page that makes it a worker. */
export interface PageAddress {
  /** True where the port itself speaks TLS. */
  readonly isSecure: boolean;
  /** The URL that workers use where a proxy stands before the port. */
  readonly publicUrl?: string | undefined;
}

/** Returns why the request may not become a WebSocket, or undefined if it may. */
export function refusalOf(request: IncomingMessage, proofs: Proofs): Refusal | undefined {
  const { 'sec-websocket-protocol': subprotocols = '' } = request.headers;
  const refusal = refusalOfStranger(request, proofs);
  if (refusal) return refusal;
  if (!subprotocols.split(',').some((subprotocol) => subprotocol.trim() === SUBPROTOCOL)) {
    return { status: 426, message: `only ${SUBPROTOCOL} is spoken here` };
  }
  return undefined;
}

/** Returns why the request may not learn about the run, or undefined if it may. */
export function refusalOfReader(request: IncomingMessage, proofs: Proofs): Refusal | undefined {
  // A page in a browser can give a name of its own the address of this machine, and needs no `Origin` then.
  const isOpen = proofs.token === undefined && !proofs.workerTokens;
  if (isOpen && !namesLoopback(request.headers.host))
    return { status: 403, message: 'without a token only this machine is answered, by its own name' };
  return refusalOfStranger(request, proofs);
}

/** The `Authorization` of a request; that of a tab is among its subprotocols. */
export function authorizationOf({ headers }: IncomingMessage): string | undefined {
  const { authorization, origin, 'sec-websocket-protocol': subprotocols = '' } = headers;
  return origin === undefined ? authorization : authorizationIn(subprotocols);
}

/**
 * Tells whether the `Origin` of a request is that of the page. A page elsewhere can give a name of its own the
 * address of this machine, so without a token that name has to be one of this machine.
 */
function isOfPage({ headers: { host, origin } }: IncomingMessage, { page, ...proofs }: Proofs): boolean {
  if (!page) return false;
  if (page.publicUrl !== undefined && origin === httpUrl(page.publicUrl).origin) return true;
  const isOpen = proofs.token === undefined && !proofs.workerTokens;
  return (!isOpen || namesLoopback(host)) && origin === `${page.isSecure ? 'https' : 'http'}://${host}`;
}

function refusalOfStranger(request: IncomingMessage, proofs: Proofs): Refusal | undefined {
  const { token, workerTokens, requiresCertificate } = proofs;
  // Only browsers send one, and any page in a browser on this machine could reach a loopback port.
  if (request.headers.origin !== undefined && !isOfPage(request, proofs)) {
    const message = proofs.page
      ? 'the page of another origin cannot be a worker'
      : 'browsers cannot be workers';
    return { status: 403, message };
  }
  const authorization = authorizationOf(request);
  const problem = requiresCertificate ? problemOfClient(request.socket) : undefined;
  if (problem !== undefined) return { status: 403, message: problem };
  if (token === undefined && !workerTokens) return undefined;
  if (token !== undefined && isAuthorized(authorization, token)) return undefined;
  if (workerTokens?.nameOf(authorization) !== undefined) return undefined;
  return { status: 401, message: authorization === undefined ? 'a token is required' : 'wrong token' };
}

/** Answers an upgrade request with an error, and ends its socket. */
export function refuseUpgrade(socket: Duplex, { status, message }: Refusal): void {
  const body = `${message}\n`;
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Connection: close',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(status === 401 ? ['WWW-Authenticate: Bearer'] : []),
    ...(status === 426 ? ['Upgrade: websocket', `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`] : []),
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}

/** @throws LockstepError if others than this machine could reach the port and nothing would stop them. */
export function requireTokenBeyondLoopback(host: string, token: string | undefined): void {
  if (token !== undefined || isLoopback(host)) return;
  throw new LockstepError({
    category: 'usage',
    code: 'E_TOKEN_REQUIRED',
    message: `listening on ${host} without a token would let anyone join who reaches the port`,
    help: 'give --token-file FILE or set LOCKSTEP_TOKEN, or listen on 127.0.0.1',
  });
}

/** The connections that an address may make at once, and in each second after that. */
const HASTE = { atOnce: 512, perSecond: 100 } as const;
/** The connections for which one with a handshake of TLS counts. */
export const SECURE_COST = 4;
/** The connections for which one counts that ended by a fault of the worker: 4 MiB that are no message take 5 ms. */
const FAULT_COST = 50;
/** Addresses whose haste is remembered; those that have been quiet for longest are forgotten. */
const MAX_REMEMBERED = 4096;

/**
 * Follows how often each address connects: a connection takes 0.1 ms, and 1 ms with a handshake of TLS, in
 * which no step goes on.
 */
export class ConnectionRates {
  /** Connections that an address may still make, and when that was. The latest come last. */
  readonly #allowances = new Map<string, { readonly count: number; readonly atMs: number }>();

  /** Notes a connection that counts for `cost`; returns false if the address makes too many. */
  allows(address: string, cost = 1, nowMs = performance.now()): boolean {
    const network = networkOf(address);
    const count = this.#countOf(network, nowMs);
    this.#remember(network, count >= cost ? count - cost : count, nowMs);
    return count >= cost;
  }

  /** Notes a connection that ended by a fault of the worker. */
  noteFault(address: string, nowMs = performance.now()): void {
    const network = networkOf(address);
    // Below zero: the next connection has to wait for it.
    this.#remember(network, Math.max(-HASTE.atOnce, this.#countOf(network, nowMs) - FAULT_COST), nowMs);
  }

  #countOf(network: string, nowMs: number): number {
    const { count, atMs } = this.#allowances.get(network) ?? { count: HASTE.atOnce, atMs: nowMs };
    return Math.min(HASTE.atOnce, count + ((nowMs - atMs) / 1000) * HASTE.perSecond);
  }

  #remember(network: string, count: number, atMs: number): void {
    this.#allowances.delete(network);
    this.#allowances.set(network, { count, atMs });
    const [oldest] = this.#allowances.keys();
    if (this.#allowances.size > MAX_REMEMBERED) this.#allowances.delete(oldest as string);
  }
}

/** The network that belongs to whoever has an address: of IPv6 it is the first half. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.replace(/%.*$/, '').split('::') as [string, string?];
  const [first, last] = [head, tail ?? ''].map((part) => part.split(':').filter((group) => group !== ''));
  const zeros = Array<string>(Math.max(0, 8 - (first?.length ?? 0) - (last?.length ?? 0))).fill('0');
  const groups = tail === undefined ? (first ?? []) : [...(first ?? []), ...zeros, ...(last ?? [])];
  return `${groups.slice(0, 4).join(':')}::/64`;
}

/**
 * Counts the sockets of each address that have not shown a token yet, so that one address cannot use up the
 * sockets meant for workers.
 */
export class UnadmittedSockets {
  readonly #maxPerAddress: number;
  readonly #counts = new Map<string, number>();
  /** Addresses by port, which a socket and the secure one on top of it have in common. */
  readonly #pending = new Map<string, string>();

  constructor(maxPerAddress: number) {
    this.#maxPerAddress = maxPerAddress;
  }

  /** Counts a new socket until it is admitted or closed; false if its address has too many. */
  add(socket: Socket, from: string): boolean {
    const address = networkOf(from);
    const count = this.#counts.get(address) ?? 0;
    if (count >= this.#maxPerAddress) return false;
    this.#counts.set(address, count + 1);
    const end = endOf(socket);
    this.#pending.set(end, address);
    socket.once('close', () => this.#forget(end));
    return true;
  }

  /** The socket has become a worker's. */
  admit(socket: Socket): void {
    this.#forget(endOf(socket));
  }

  #forget(end: string): void {
    const address = this.#pending.get(end);
    if (address === undefined) return;
    this.#pending.delete(end);
    const count = (this.#counts.get(address) ?? 1) - 1;
    if (count === 0) this.#counts.delete(address);
    else this.#counts.set(address, count);
  }
}

function endOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
