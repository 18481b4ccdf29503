// A `Connection` over an open WebSocket, with the heartbeat that notices a peer that is gone without a word.
import type { Socket } from 'node:net';
import type { RawData, WebSocket } from 'ws';
import { noteMessageBuffer } from './buffer-garbage.ts';
import type { Connection } from './connection.ts';
import { CLOSE } from './protocol-error.ts';
import { CLOSE_TIMEOUT_MS, fitReason } from './connection.ts';

/** A peer that goes on sending after our goodbye has this much in flight at most; then it is cut off. */
const MAX_LATE_BYTES = 2 ** 23;
/**
 * More is not handed to the WebSocket at once. Node hands everything that waits for a socket to the
 * kernel as one write, and neither reports progress nor lets a ping pass before its end; at 10
 * Mbit/s that of a 100 MB model takes 80 s.
 */
const WINDOW_BYTES = 2 ** 20;
/**
 * Bytes since the last whole message that are the beginning of the next one: more
 * than a read of the socket.
 */
const READ_BYTES = 64 * 1024;
/** Pings and pongs of one interval: each end sends one of either, and a flood sends 100,000. */
const MAX_CONTROL_FRAMES = 1000;
/** Bytes of a frame from a client, without its payload. */
const CONTROL_FRAME_BYTES = 6;
/** The close code that a WebSocket reports when no goodbye was heard. */
const ABNORMAL = 1006;

/** The deadlines that reveal a silent peer. */
export interface Heartbeat {
  readonly intervalMs: number;
  /** Intervals in a row without a sign of life, after which the connection is cut. */
  readonly maxSilentIntervals: number;
  /** Intervals that a message may take to come; without it any number. */
  readonly maxMessageIntervals?: number | undefined;
}

/** The parts and settings of a connection. */
export interface WebSocketConnectionOptions {
  readonly id: number;
  readonly webSocket: WebSocket;
  /** The socket under the WebSocket. */
  readonly socket: Socket;
  readonly tokenName?: string | undefined;
  readonly heartbeat: Heartbeat;
}

/** A fragment that waits to be sent; of most messages the only one. */
interface Queued {
  readonly data: Buffer;
  readonly isFirst: boolean;
  readonly isLast: boolean;
  readonly onTaken: ((isWhole: boolean) => void) | undefined;
}

/** A connection over a WebSocket. */
export class WebSocketConnection implements Connection {
  readonly id: number;
  readonly tokenName: string | undefined;
  readonly remoteAddress: string;
  #webSocket: WebSocket;
  #socket: Socket;
  #heartbeat: Heartbeat;
  #timer: NodeJS.Timeout;
  #silentIntervals = 0;
  #lateBytes = 0;
  /** Pings and pongs of the current interval. */
  #numControlFrames = 0;
  /** Intervals in which a message has begun and not ended. */
  #messageIntervals = 0;
  /** `bytesRead` when the last message had come, and with the pings and pongs since. */
  #bytesExplained: number;
  /** Messages that wait for the window, oldest first. */
  #queue: Queued[] = [];
  #queuedBytes = 0;
  /** True while what is handed over waits for the end of the turn. */
  #isCorked = false;
  /** Counters at the last interval. */
  #lastBytesRead = 0;
  #lastBytesFlushed = 0;
  #wasBacklogged = false;
  /** Bytes of messages that were handed to the WebSocket, and those of them that the kernel has taken. */
  #bytesHandedOver = 0;
  #bytesFlushed = 0;
  /** The reason why this end closes the connection; once set, messages are neither taken nor passed on. */
  #ending: { readonly code: number; readonly reason: string } | undefined;
  /** Watches a goodbye that waits for what is queued before it. */
  #closeTimer: NodeJS.Timeout | undefined;

  constructor({ id, webSocket, socket, tokenName, heartbeat }: WebSocketConnectionOptions) {
    this.id = id;
    this.tokenName = tokenName;
    this.remoteAddress = plainAddress(socket.remoteAddress);
    this.#webSocket = webSocket;
    this.#socket = socket;
    this.#heartbeat = heartbeat;
    this.#bytesExplained = socket.bytesRead;
    this.#timer = setInterval(() => this.#beat(), heartbeat.intervalMs).unref();
    webSocket.pause();
    webSocket.on('ping', (data) => {
      this.#noteControlFrame(data);
      this.#answerPing();
    });
    webSocket.on('pong', (data) => this.#noteControlFrame(data));
    // Always followed by 'close'. Without a listener one malformed frame would end this process.
    webSocket.on('error', (error) => (this.#ending ??= { code: ABNORMAL, reason: error.message }));
    webSocket.on('close', () => this.#cleanUp());
  }

  get bufferedBytes(): number {
    return this.#queuedBytes + this.#webSocket.bufferedAmount;
  }

  get bytesRead(): number {
    return this.#socket.bytesRead;
  }

  send(message: Buffer | readonly Buffer[], onTaken?: (isWhole: boolean) => void): void {
    if (!this.#isOpen || this.#ending) return;
    const fragments = Buffer.isBuffer(message) ? [message] : message;
    fragments.forEach((data, index) => {
      this.#queue.push({ data, isFirst: index === 0, isLast: index === fragments.length - 1, onTaken });
      this.#queuedBytes += data.length;
    });
    this.#transmit();
  }

  flush(): void {
    if (!this.#isCorked) return;
    this.#isCorked = false;
    this.#socket.uncork();
  }

  dropQueued(): void {
    const next = this.#queue.findIndex(({ isFirst }) => isFirst);
    if (next < 0) return;
    for (const { data } of this.#queue.splice(next)) this.#queuedBytes -= data.length;
  }

  close(code: number, reason: string): void {
    if (this.#ending) return;
    this.#ending = { code, reason };
    let bytesBefore = this.#bytesFlushed;
    this.#closeTimer = setInterval(() => {
      if (this.#bytesFlushed === bytesBefore) this.#webSocket.terminate();
      bytesBefore = this.#bytesFlushed;
    }, CLOSE_TIMEOUT_MS);
    this.#transmit();
  }

  terminate(reason = ''): void {
    this.#ending ??= { code: ABNORMAL, reason };
    this.#webSocket.terminate();
  }

  onMessage(listener: (data: Buffer) => void): void {
    this.#webSocket.on('message', (data: RawData, isBinary: boolean) => {
      this.#bytesExplained = this.bytesRead;
      this.#messageIntervals = 0;
      if (this.#ending) return this.#dropLate(data as Buffer);
      if (!isBinary) return this.close(CLOSE.binaryOnly, 'only binary messages are accepted');
      listener(data as Buffer);
      noteMessageBuffer((data as Buffer).length);
    });
    this.#webSocket.resume();
  }

  onClose(listener: (code: number, reason: string) => void): void {
    this.#webSocket.on('close', (code, reason) => {
      const ending = this.#ending ?? { code, reason: reason.toString('utf8').replace(/\p{Cc}/gu, ' ') };
      listener(ending.code, ending.reason);
    });
  }

  get #isOpen(): boolean {
    return this.#webSocket.readyState === this.#webSocket.OPEN;
  }

  #cleanUp(): void {
    clearInterval(this.#timer);
    clearInterval(this.#closeTimer);
    this.#queue = [];
    this.#queuedBytes = 0;
  }

  /**
   * Hands over messages while less than a window is in flight to the kernel, and
   * the goodbye after the last.
   */
  #transmit(): void {
    for (let next = this.#queue[0]; next && this.#hasRoomFor(next); next = this.#queue[0]) {
      this.#queue.shift();
      this.#queuedBytes -= next.data.length;
      this.#bytesHandedOver += next.data.length;
      this.#handOver(next);
    }
    if (this.#closeTimer && this.#queue.length === 0 && this.#isFlushed) this.#sayGoodbye();
  }

  #hasRoomFor({ isFirst }: Queued): boolean {
    if (!this.#isOpen) return false;
    return isFirst ? this.#webSocket.bufferedAmount < WINDOW_BYTES : this.#isFlushed;
  }

  /** Pings in flight do not count: nobody is told when they are gone. */
  get #isFlushed(): boolean {
    return this.#bytesFlushed === this.#bytesHandedOver;
  }

  /** Messages of one turn go out as one write: each write wakes the peer, and that takes 0.3 ms. */
  #cork(): void {
    if (this.#isCorked) return;
    this.#isCorked = true;
    this.#socket.cork();
    setImmediate(() => this.flush());
  }

  #handOver({ data, isLast, onTaken }: Queued): void {
    this.#cork();
    this.#webSocket.send(data, { binary: true, fin: isLast }, (error) => {
      if (error) return;
      this.#bytesFlushed += data.length;
      noteMessageBuffer(data.length);
      onTaken?.(isLast);
      this.#transmit();
    });
  }

  /** Closes the WebSocket, which cuts off a peer that does not answer in time. */
  #sayGoodbye(): void {
    clearInterval(this.#closeTimer);
    this.#closeTimer = undefined;
    const { code, reason } = this.#ending as { code: number; reason: string };
    this.#webSocket.close(code, fitReason(reason));
  }

  /** Drops a message that came after our goodbye: at some point it is no longer one that was in flight. */
  #dropLate({ length }: Buffer): void {
    this.#lateBytes += length;
    if (this.#lateBytes > MAX_LATE_BYTES) this.#webSocket.terminate();
  }

  #noteControlFrame({ length }: Buffer): void {
    this.#bytesExplained += CONTROL_FRAME_BYTES + length;
    if (++this.#numControlFrames <= MAX_CONTROL_FRAMES) return;
    const reason = `more than ${MAX_CONTROL_FRAMES} pings and pongs came between two of ours`;
    this.#ending ??= { code: CLOSE.protocol, reason };
    this.#webSocket.terminate();
  }

  /** While anything is queued a pong would wait behind it, and prove nothing that those bytes do not. */
  #answerPing(): void {
    if (this.bufferedBytes === 0 && this.#isOpen) this.#webSocket.pong();
  }

  /**
   * Silence is counted in intervals and not read from a clock: when our own process was stopped for
   * a minute, one interval has passed, and what the peer sent meanwhile is still unread.
   */
  #beat(): void {
    this.#numControlFrames = 0;
    this.#silentIntervals = this.#hasProgress() ? 0 : this.#silentIntervals + 1;
    const { intervalMs, maxSilentIntervals, maxMessageIntervals = Infinity } = this.#heartbeat;
    const isAmidMessage = this.bytesRead - this.#bytesExplained > READ_BYTES;
    this.#messageIntervals = isAmidMessage ? this.#messageIntervals + 1 : 0;
    if (this.#messageIntervals > maxMessageIntervals) {
      this.terminate(`a message was still incomplete after ${(intervalMs * maxMessageIntervals) / 1000} s`);
    } else if (this.#silentIntervals >= maxSilentIntervals) {
      this.terminate(`nothing was received for ${(intervalMs * maxSilentIntervals) / 1000} s`);
    } else if (this.#isOpen) {
      this.#webSocket.ping();
    }
  }

  /**
   * True if bytes came since the last interval, or if a backlog shrank: on a slow link our ping
   * waits behind the megabytes in the kernel's buffers, and their going out is the first sign of
   * life to be had. Both ends ping, so that one which only receives is heard although it has
   * nothing to answer before those megabytes are through.
   */
  #hasProgress(): boolean {
    const isSending = this.#wasBacklogged && this.#bytesFlushed > this.#lastBytesFlushed;
    const hasReceived = this.bytesRead > this.#lastBytesRead;
    this.#wasBacklogged = this.bufferedBytes > 0;
    this.#lastBytesFlushed = this.#bytesFlushed;
    this.#lastBytesRead = this.bytesRead;
    return isSending || hasReceived;
  }
}

/** An address as people write it: IPv4 without the prefix it has on a dual-stack socket. */
export function plainAddress(address: string | undefined): string {
  return address?.replace(/^::ffff:(?=\d+\.)/, '') ?? 'unknown';
}
