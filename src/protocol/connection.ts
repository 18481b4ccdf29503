// One end of a connection that carries whole binary messages, and the options of its socket. It
// knows nothing of what the messages mean.
import { isIPv4, isIPv6 } from 'node:net';
import { MAX_FRAGMENTS, MAX_MESSAGE_BYTES } from './limits.ts';

/** An open connection to one peer, the same on both ends. */
export interface Connection {
  /** Unique among the connections of one listener, from 1; a worker, which has one, calls it 0. */
  readonly id: number;
  /** The name of the worker whose own token the peer has shown. */
  readonly tokenName?: string | undefined;
  /** The peer's address, without its port. */
  readonly remoteAddress: string;
  /** Bytes sent that this process still holds: the peer, or the way to it, is slower than we are. */
  readonly bufferedBytes: number;
  /** Bytes received since the connection was made. */
  readonly bytesRead: number;
  /**
   * Queues a message, without a limit: the sender watches `bufferedBytes`. The bytes must not change until
   * they are sent. Does nothing on a connection that is closing.
   * @param data one buffer, or the fragments that make the message: none of them is copied, and
   * each is handed to the system when that has taken all before it.
   * @param onTaken called whenever the system has taken a fragment; never for a message that is dropped.
   */
  send(data: Buffer | readonly Buffer[], onTaken?: (isWhole: boolean) => void): void;
  /** Sends at once what would else wait for the end of this turn of the event loop, to go out as one write. */
  flush(): void;
  /** Forgets messages that wait in this process; those whose first byte is in flight still go out whole. */
  dropQueued(): void;
  /** Sends what is queued and says goodbye. A peer that takes or answers nothing for 3 s is cut off. */
  close(code: number, reason: string): void;
  /** Cuts the connection at once; `reason` is for our own `onClose`. */
  terminate(reason?: string): void;
  /** Sets the listener, once. Nothing is read from the network before; the listener may keep what it gets. */
  onMessage(listener: (data: Buffer) => void): void;
  /**
   * Adds a listener for the end, which comes once. Code and reason are those of the side that ended
   * it first; 1006 where nobody said goodbye.
   */
  onClose(listener: (code: number, reason: string) => void): void;
}

/** Time for the peer to answer a goodbye; the default of 30 s would hold up the end of a run. */
export const CLOSE_TIMEOUT_MS = 3000;

/** A close frame has room for this many bytes of UTF-8. */
const MAX_REASON_BYTES = 123;

/** The reason, cut between two characters where it does not fit a close frame. */
export function fitReason(reason: string): string {
  const { read } = new TextEncoder().encodeInto(reason, new Uint8Array(MAX_REASON_BYTES));
  return reason.slice(0, read);
}

/** Tells whether an address, to listen on or of a peer, is of this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

/** Hosts that stand for all addresses of this machine. */
export const ANY_HOST: readonly string[] = ['0.0.0.0', '::'];

/** `host:port`, with the brackets of an IPv6 address. */
export function hostAndPort(host: string, port: number): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** The URL of a port that takes workers. */
export function urlOf({
  host,
  port,
  isSecure = false,
}: {
  readonly host: string;
  readonly port: number;
  readonly isSecure?: boolean | undefined;
}): string {
  return `${isSecure ? 'wss' : 'ws'}://${hostAndPort(host, port)}`;
}

/** The address at which an HTTP client reaches what is at a WebSocket's address. */
export function httpUrl(url: string | URL): URL {
  return new URL(String(url).replace(/^ws/, 'http'));
}

/** True where the `Host` of an HTTP request names this machine, and not a name that leads here. */
export function namesLoopback(host = ''): boolean {
  return isLoopback(host.replace(/:\d+$/, '').replace(/^\[|\]$/g, ''));
}

/** Spread into the options of a server or a client. */
export const SOCKET_OPTIONS = {
  /**
   * Tensors hardly compress, and 90 KB of zeros could become 90 MiB. A client of ws
   * would ask for it by default.
   */
  perMessageDeflate: false,
  /** The default is 100 MiB a connection. */
  maxPayload: MAX_MESSAGE_BYTES,
  /** A million tiny ones cost far more memory than their bytes. */
  maxFragments: MAX_FRAGMENTS,
  /** `WebSocketConnection` answers pings itself, never more than one at a time. */
  autoPong: false,
  closeTimeout: CLOSE_TIMEOUT_MS,
  /** Close reasons are text for our log. */
  skipUTF8Validation: false,
} as const;
