// Links that are as slow as a network's: each machine's card sends one chunk after the other and
// receives one after the other, then a chunk is on its way for a while. In real time behind a port
// that relays connections, and in the virtual time of a simulation.
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import type { LinkSpeed } from './link.ts';

/** Time, real or virtual, in milliseconds. */
export interface Clock {
  readonly nowMs: () => number;
  /** Calls back at a time, which it is told; in the order of times, and at equal ones of calls. */
  readonly at: (ms: number, call: (dueMs: number) => void) => void;
}

/** Bytes that pass a card at a time, so that connections share it and a message need not be whole. */
const CHUNK_BYTES = 16 * 1024;
/** Time by which timers may be late without a link running dry. */
const TIMER_MS = 4;
/** Bytes that a link holds besides those on their way: one read of a socket. */
const LEAST_WINDOW_BYTES = 64 * 1024;
const MOST_WINDOW_BYTES = 16 * 2 ** 20;

/** One direction of a network card. */
export class Lane {
  readonly #bytesPerMs: number;
  #freeMs = 0;
  #busyMs = 0;

  constructor(bytesPerMs: number) {
    this.#bytesPerMs = bytesPerMs;
  }

  /** Milliseconds in which something passed. */
  get busyMs(): number {
    return this.#busyMs;
  }

  msOf(bytes: number): number {
    return bytes / this.#bytesPerMs;
  }

  /** Passes bytes that come from a time on, after those that came before; returns when they are through. */
  pass(bytes: number, fromMs: number): number {
    this.#busyMs += this.msOf(bytes);
    this.#freeMs = Math.max(this.#freeMs, fromMs) + this.msOf(bytes);
    return this.#freeMs;
  }
}

/** The network card of one machine, which all its connections share. */
export class Card {
  readonly sends: Lane;
  readonly receives: Lane;

  constructor({ bytesPerMs }: LinkSpeed) {
    this.sends = new Lane(bytesPerMs);
    this.receives = new Lane(bytesPerMs);
  }
}

/** One direction of a connection between two cards. It never reorders. */
export class Pipe {
  readonly #from: Lane;
  readonly #to: Lane;
  readonly #latencyMs: number;
  readonly #clock: Clock;
  readonly #windowBytes: number;
  #bytesInside = 0;

  constructor(from: Card, to: Card, { bytesPerMs, latencyMs }: LinkSpeed, clock: Clock) {
    this.#from = from.sends;
    this.#to = to.receives;
    this.#latencyMs = latencyMs;
    this.#clock = clock;
    const onTheWay = bytesPerMs * (latencyMs + TIMER_MS);
    this.#windowBytes = Math.min(MOST_WINDOW_BYTES, LEAST_WINDOW_BYTES + onTheWay);
  }

  /** False while it holds all that it should: whoever sends has to wait. */
  get hasRoom(): boolean {
    return this.#bytesInside < this.#windowBytes;
  }

  /** Takes bytes, of any number, and calls back with each chunk that arrives; the receiver frees its room. */
  send(bytes: number, onChunk: (start: number, end: number, free: () => void) => void): void {
    for (let start = 0; start < bytes; start += CHUNK_BYTES) {
      const end = Math.min(bytes, start + CHUNK_BYTES);
      const length = end - start;
      const free = (): void => void (this.#bytesInside -= length);
      this.#bytesInside += length;
      this.#clock.at(this.#from.pass(length, this.#clock.nowMs()), (sentMs) => {
        // Its first byte reaches the other card while the last one is still here.
        const receivedMs = this.#to.pass(length, sentMs - this.#from.msOf(length));
        this.#clock.at(receivedMs + this.#latencyMs, () => onChunk(start, end, free));
      });
    }
  }
}

interface Alarm {
  readonly ms: number;
  readonly call: (dueMs: number) => void;
}

/** Calls that wait for their times. */
export class Alarms {
  readonly #waiting: Alarm[] = [];

  get nextMs(): number {
    return this.#waiting[0]?.ms ?? Infinity;
  }

  add(ms: number, call: Alarm['call']): void {
    let [low, high] = [0, this.#waiting.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#waiting[middle] as Alarm).ms <= ms) low = middle + 1;
      else high = middle;
    }
    this.#waiting.splice(low, 0, { ms, call });
  }

  /** Makes the first call. */
  ring(): void {
    const first = this.#waiting.shift();
    first?.call(first.ms);
  }
}

/** Timers end up to a millisecond late; as much too early half of the time makes their mean right. */
const EARLY_MS = 0.5;

/** Real time. What is late is told its time, so that lateness slows no link down. */
export class RealClock implements Clock {
  readonly #alarms = new Alarms();
  #timer: NodeJS.Timeout | undefined;
  #timerMs = Infinity;

  readonly nowMs = (): number => performance.now();

  readonly at: Clock['at'] = (ms, call) => {
    this.#alarms.add(ms, call);
    this.#setTimer();
  };

  #setTimer(): void {
    const { nextMs } = this.#alarms;
    if (nextMs >= this.#timerMs || nextMs === Infinity) return;
    clearTimeout(this.#timer);
    this.#timerMs = nextMs;
    this.#timer = setTimeout(() => this.#ring(), nextMs - this.nowMs());
  }

  #ring(): void {
    while (this.#alarms.nextMs <= this.nowMs() + EARLY_MS) this.#alarms.ring();
    this.#timerMs = Infinity;
    this.#setTimer();
  }
}

/** The two ends of a port that relays, and the link in between. */
export interface ShapedPortOptions {
  /** The port on this machine behind it. */
  readonly port: number;
  readonly link: LinkSpeed;
  readonly clock: Clock;
  /** The card of the machine behind it. */
  readonly card: Card;
  /** The card of whoever connects; by default each connection comes from a machine of its own. */
  readonly otherCard?: Card | undefined;
}

/** An open port of this machine. */
export interface ShapedPort {
  readonly port: number;
  readonly close: () => void;
}

/** Opens a port that relays connections to another one, over a link. */
export async function openShapedPort(options: ShapedPortOptions): Promise<ShapedPort> {
  const { card, clock, link, port } = options;
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (near) => {
    const far = connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
    const other = options.otherCard ?? new Card(link);
    for (const socket of [near, far]) sockets.add(socket);
    relay(near, far, new Pipe(other, card, link, clock));
    relay(far, near, new Pipe(card, other, link, clock));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const close = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { port: (server.address() as AddressInfo).port, close };
}

/** Moves all that comes from one socket to the other. */
function relay(from: Socket, to: Socket, pipe: Pipe): void {
  from.on('data', (data: Buffer) => {
    pipe.send(data.length, (start, end, free) => {
      to.write(data.subarray(start, end), () => {
        free();
        if (pipe.hasRoom) from.resume();
      });
    });
    if (!pipe.hasRoom) from.pause();
  });
  from.on('end', () => pipe.send(1, () => to.end()));
  // A connection that is cut is cut at both ends; 'close' follows.
  from.on('error', () => undefined);
  from.on('close', (hadError) => hadError && to.destroy());
}
