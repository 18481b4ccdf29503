// The coordinator's port and its connections: workers that behave, and clients that lie, stall, flood and
// send garbage. In each case a worker that behaves keeps exchanging messages meanwhile.
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { MAX_MESSAGE_BYTES } from '../../src/protocol/limits.ts';
import {
  AUTHORIZATION,
  connectGood,
  exchange,
  listenEchoing,
  listenersOf,
  until,
  useEchoListener,
} from '../helpers/echo-listener.ts';
import type { Ending } from '../helpers/echo-listener.ts';
import { frame, OPCODE, RawClient } from '../helpers/raw-client.ts';

const echo = useEchoListener();

/** The ending of the connection admitted after the good one. */
async function endingOfIntruder(): Promise<Omit<Ending, 'id'>> {
  await until(() => echo.port.endings.length > 0);
  const { id, ...ending } = echo.port.endings[0] as Ending;
  expect(id).toBe(2);
  return ending;
}

describe('a worker that behaves', () => {
  it('messages from one byte to the largest size arrive unchanged', async () => {
    for (const length of [1, 125, 126, 65_535, 65_536, 1_000_000, MAX_MESSAGE_BYTES]) {
      const data = Buffer.alloc(length, 'abc');
      expect(Buffer.compare(await exchange(echo.good, data), data)).toBe(0);
    }
  });

  it('a worker is told when the coordinator shuts down', async () => {
    const other = await listenEchoing();
    const worker = await connectGood(other);
    const workerEnded = new Promise((resolve) => worker.onClose((...ending) => resolve(ending)));
    worker.onMessage(() => undefined);
    await other.close();
    expect(await workerEnded).toEqual([1001, 'the coordinator is shutting down']);
  });

  it('the port knows the address of a worker and counts its bytes', async () => {
    const before = echo.port.accepted[0]?.bytesRead ?? 0;
    await exchange(echo.good, Buffer.alloc(1000));
    expect(echo.port.accepted[0]?.remoteAddress).toBe('127.0.0.1');
    expect((echo.port.accepted[0]?.bytesRead ?? 0) - before).toBeGreaterThanOrEqual(1000);
  });

  it('a worker that leaves gives its own code and reason', async () => {
    const worker = await connectGood(echo.port);
    worker.onMessage(() => undefined);
    worker.close(1000, 'é'.repeat(100));
    expect(await endingOfIntruder()).toEqual({ code: 1000, reason: 'é'.repeat(61) });
  });

  it('a worker that was disconnected receives nothing more, although it keeps sending', async () => {
    const worker = await connectGood(echo.port);
    await exchange(worker, Buffer.from('hello'));
    echo.port.accepted[1]?.close(4400, 'malformed');
    worker.send(Buffer.from('more'));
    const heard: Buffer[] = [];
    listenersOf(worker).onMessage = (data) => heard.push(data);
    expect(await endingOfIntruder()).toEqual({ code: 4400, reason: 'malformed' });
    expect(heard).toEqual([]);
  });
});

describe('a worker that misbehaves on its WebSocket', () => {
  async function intrude(...frames: Buffer[]): Promise<RawClient> {
    const client = await RawClient.openWebSocket(echo.port.port, AUTHORIZATION);
    for (const bytes of frames) client.socket.write(bytes);
    return client;
  }

  it('a worker that sends a text message is disconnected with 1003', async () => {
    await intrude(frame(OPCODE.text, Buffer.from('hello')));
    expect(await endingOfIntruder()).toEqual({ code: 1003, reason: 'only binary messages are accepted' });
  });

  it.each([
    [
      'an unmasked frame',
      frame(OPCODE.binary, Buffer.alloc(10), { isMasked: false }),
      'Invalid WebSocket frame: MASK must be set',
    ],
    [
      'a frame one byte over the limit',
      frame(OPCODE.binary, Buffer.alloc(0), { announced: MAX_MESSAGE_BYTES + 1 }),
      'Max payload size exceeded',
    ],
    [
      'a frame of 1 TiB',
      frame(OPCODE.binary, Buffer.alloc(0), { announced: 2 ** 40 }),
      'Max payload size exceeded',
    ],
    ['an unknown opcode', frame(5, Buffer.alloc(1)), 'Invalid WebSocket frame: invalid opcode 5'],
    [
      'a compressed frame',
      frame(OPCODE.binary | 0x40, Buffer.alloc(1)),
      'Invalid WebSocket frame: RSV1 must be clear',
    ],
    [
      'a ping of 126 bytes',
      frame(OPCODE.ping, Buffer.alloc(126)),
      'Invalid WebSocket frame: invalid payload length 127',
    ],
    [
      'text that is not UTF-8',
      frame(OPCODE.text, Buffer.from([0xff])),
      'Invalid WebSocket frame: invalid UTF-8 sequence',
    ],
    [
      'an invalid close code',
      frame(OPCODE.close, Buffer.from([0, 1])),
      'Invalid WebSocket frame: invalid status code 1',
    ],
    [
      '18 fragments',
      Buffer.concat(
        Array.from({ length: 18 }, (_, index) =>
          frame(index === 0 ? OPCODE.binary : OPCODE.continuation, Buffer.alloc(1), { isFinal: false }),
        ),
      ),
      'Too many message fragments',
    ],
  ])('a worker that sends %s is cut off', async (_, bytes, reason) => {
    const client = await intrude(bytes);
    expect(await endingOfIntruder()).toEqual({ code: 1006, reason });
    await client.untilClosed();
  });

  it('a worker that sends garbage after the handshake is cut off', async () => {
    await intrude(Buffer.alloc(100_000, 0xff));
    expect(await endingOfIntruder()).toEqual({
      code: 1006,
      reason: 'Invalid WebSocket frame: RSV2 and RSV3 must be clear',
    });
  });

  it('a worker that vanishes in the middle of a message is forgotten', async () => {
    const client = await intrude(frame(OPCODE.binary, Buffer.alloc(1000), { announced: 100_000 }));
    client.socket.resetAndDestroy();
    expect(await endingOfIntruder()).toEqual({ code: 1006, reason: '' });
  });

  it('a worker that does not read is sent only one fragment of a message, and the rest once it reads', async () => {
    const client = await intrude();
    client.socket.pause();
    const fragments = Array.from({ length: 64 }, (_, index) => Buffer.alloc(2 ** 18, index));
    let [numTaken, isWhole] = [0, false];
    const connection = echo.port.accepted[1];
    connection?.send(fragments, (whole) => {
      numTaken++;
      isWhole = whole;
    });
    await sleep(300);
    // The system's buffers on both sides hold a few MB; the rest stays queued in the process.
    expect(numTaken).toBeGreaterThan(0);
    expect(isWhole).toBe(false);
    const before = connection?.bufferedBytes;
    connection?.send(Buffer.alloc(1));
    connection?.dropQueued();
    expect(connection?.bufferedBytes).toBe(before);
    let bytesReceived = 0;
    client.socket.on('data', ({ length }) => (bytesReceived += length));
    client.socket.resume();
    while (bytesReceived < 64 * 2 ** 18) await sleep(10);
    expect({ numTaken, isWhole, left: connection?.bufferedBytes }).toEqual({
      numTaken: 64,
      isWhole: true,
      left: 0,
    });
  });

  it('a worker that does not read shows in the bytes that pile up and can be cut off', async () => {
    const client = await intrude();
    client.socket.pause();
    const large = Buffer.alloc(4_000_000);
    for (let count = 0; count < 8; count++) echo.port.accepted[1]?.send(large);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(echo.port.accepted[1]?.bufferedBytes).toBeGreaterThan(16_000_000);
    echo.port.accepted[1]?.terminate('does not read');
    expect(await endingOfIntruder()).toEqual({ code: 1006, reason: 'does not read' });
  });
});
