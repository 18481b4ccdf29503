// A relay between the two ends of a tunnel that treats packets as a bad line would: it delays them, limits
// their rate and drops some; a seeded generator decides.
import dgram from 'node:dgram';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import { seededRandom } from './seeded-random.ts';

/** The effects of the line on packets, in each direction. */
export interface Impairments {
  readonly delayMs: number;
  /** 0 to 1. */
  readonly loss: number;
  readonly bitsPerSecond: number;
  readonly seed: number;
}

/** The port to which one end of the tunnel sends its packets, and the port from which it must send them. */
export interface RelayPort {
  readonly relay: number;
  readonly own: number;
}

/** Packets that would wait longer than this for their turn are dropped, as a full router does. */
const MAX_QUEUE_MS = 400;

/** Opens a relay between two ends on this machine; closed when the test is over. */
export async function openUdpRelay(impairments: Impairments): Promise<[RelayPort, RelayPort]> {
  const [first, second, firstOwn, secondOwn] = await Promise.all([open(), open(), open(), open()]);
  const ports: [RelayPort, RelayPort] = [
    { relay: portOf(first), own: portOf(firstOwn) },
    { relay: portOf(second), own: portOf(secondOwn) },
  ];
  firstOwn.close();
  secondOwn.close();
  const random = seededRandom(impairments.seed);
  passOn(first, second, ports[1].own, impairments, random);
  passOn(second, first, ports[0].own, impairments, random);
  onTestFinished(() => {
    first.close();
    second.close();
  });
  return ports;
}

function passOn(
  from: dgram.Socket,
  to: dgram.Socket,
  port: number,
  { delayMs, loss, bitsPerSecond }: Impairments,
  random: () => number,
): void {
  let lineFreeMs = 0;
  /** Packets on the line when the test ends. */
  const underWay = new Set<NodeJS.Timeout>();
  to.once('close', () => underWay.forEach((arrival) => clearTimeout(arrival)));
  from.on('message', (packet) => {
    const nowMs = performance.now();
    const isFull = lineFreeMs - nowMs > MAX_QUEUE_MS;
    if (isFull || random() < loss) return;
    lineFreeMs = Math.max(lineFreeMs, nowMs) + (8000 * packet.length) / bitsPerSecond;
    const arrivesInMs = lineFreeMs - nowMs + delayMs;
    const arrival = setTimeout(() => {
      underWay.delete(arrival);
      to.send(packet, port, '127.0.0.1', () => undefined);
    }, arrivesInMs);
    underWay.add(arrival);
  });
}

async function open(): Promise<dgram.Socket> {
  const socket = dgram.createSocket('udp4').on('error', () => undefined);
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

function portOf(socket: dgram.Socket): number {
  return socket.address().port;
}
