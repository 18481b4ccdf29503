// Links of a network's speed, in virtual time; and ports that relay over one, in real time, of which
// only order and completeness are tested.
import { createHash } from 'node:crypto';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Alarms, Card, openShapedPort, Pipe, RealClock } from '../../../bench/shaped-link.ts';
import type { Clock } from '../../../bench/shaped-link.ts';

/** Time that passes when it is told to. */
class FakeClock implements Clock {
  readonly #alarms = new Alarms();
  #nowMs = 0;

  readonly nowMs = (): number => this.#nowMs;
  readonly at: Clock['at'] = (ms, call) => this.#alarms.add(ms, call);

  runUntil(ms: number): void {
    while (this.#alarms.nextMs <= ms) {
      this.#nowMs = this.#alarms.nextMs;
      this.#alarms.ring();
    }
    this.#nowMs = ms;
  }
}

/** 16 KiB a millisecond, so one chunk. */
const LINK = { bytesPerMs: 16 * 1024, latencyMs: 5 };
const CHUNK = 16 * 1024;

describe('a link in virtual time', () => {
  it('moves one chunk after the other, each after the latency', () => {
    const clock = new FakeClock();
    const pipe = new Pipe(new Card(LINK), new Card(LINK), LINK, clock);
    const arrivals: [number, number, number][] = [];
    pipe.send(2.5 * CHUNK, (start, end) => arrivals.push([clock.nowMs(), start, end]));
    clock.runUntil(100);
    expect(arrivals).toEqual([
      [6, 0, CHUNK],
      [7, CHUNK, 2 * CHUNK],
      [7.5, 2 * CHUNK, 2.5 * CHUNK],
    ]);
  });

  it('connections share the card of a machine, each way for itself', () => {
    const clock = new FakeClock();
    const [shared, one, other] = [new Card(LINK), new Card(LINK), new Card(LINK)];
    const ends = new Map<string, number>();
    const send = (name: string, from: Card, to: Card): void =>
      new Pipe(from, to, LINK, clock).send(4 * CHUNK, () => ends.set(name, clock.nowMs()));
    send('one up', one, shared);
    send('other up', other, shared);
    send('down', shared, one);
    clock.runUntil(100);
    // Both ways up come through one card; with the last chunk of each all eight have passed.
    expect(Object.fromEntries(ends)).toEqual({ 'one up': 12, 'other up': 13, down: 9 });
  });

  it('a chunk that comes late to a free card does not make up for the pause', () => {
    const clock = new FakeClock();
    const pipe = new Pipe(new Card(LINK), new Card(LINK), LINK, clock);
    const arrivals: number[] = [];
    pipe.send(CHUNK, () => arrivals.push(clock.nowMs()));
    clock.runUntil(50);
    pipe.send(CHUNK, () => arrivals.push(clock.nowMs()));
    clock.runUntil(100);
    expect(arrivals).toEqual([6, 56]);
  });

  it('has no room until its receiver frees what has arrived', () => {
    const clock = new FakeClock();
    const pipe = new Pipe(new Card(LINK), new Card(LINK), LINK, clock);
    const frees: (() => void)[] = [];
    let numSent = 0;
    for (; pipe.hasRoom; numSent++) pipe.send(CHUNK, (_start, _end, free) => frees.push(free));
    // Those on their way for 5 ms, 4 ms of spare ones and 64 KiB.
    expect(numSent).toBe(5 + 4 + 4);
    clock.runUntil(100);
    expect(frees).toHaveLength(numSent);
    expect(pipe.hasRoom).toBe(false);
    frees[0]?.();
    expect(pipe.hasRoom).toBe(true);
  });

  it('alarms ring in the order of their times, and at equal ones of their calls', () => {
    const alarms = new Alarms();
    const rung: string[] = [];
    for (const [ms, name] of [
      [3, 'c'],
      [1, 'a'],
      [3, 'd'],
      [2, 'b'],
    ] as const) {
      alarms.add(ms, () => rung.push(name));
    }
    while (alarms.nextMs < Infinity) alarms.ring();
    expect(rung).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('a port that relays over a link', () => {
  it('passes on every byte, both ways, and the end', async () => {
    const bytes = Buffer.alloc(3_000_001, 'all bytes in their order ');
    bytes.forEach((value, index) => (bytes[index] = (value + index * 7) % 251));
    const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const link = { bytesPerMs: 1e6, latencyMs: 1 };
    const shaped = await openShapedPort({ port, link, clock: new RealClock(), card: new Card(link) });
    onTestFinished(shaped.close);
    const socket = connect({ host: '127.0.0.1', port: shaped.port });
    socket.end(bytes);
    expect(await digestOf(socket)).toBe(createHash('sha256').update(bytes).digest('hex'));
  });

  it('ends a connection whose other end is refused', async () => {
    const link = { bytesPerMs: 1e6, latencyMs: 1 };
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const shaped = await openShapedPort({ port, link, clock: new RealClock(), card: new Card(link) });
    onTestFinished(shaped.close);
    const socket = connect({ host: '127.0.0.1', port: shaped.port });
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.once('close', resolve));
  });
});

async function digestOf(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  for await (const data of socket) hash.update(data as Buffer);
  return hash.digest('hex');
}
