// The heartbeat of the coordinator's port, which tells a worker that has vanished from one that is slow.
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Connection } from '../../src/protocol/connection.ts';
import { connect } from '../../worker/connection.ts';
import {
  AUTHORIZATION,
  connectGood,
  listenEchoing,
  TOKEN,
  until,
  useEchoListener,
} from '../helpers/echo-listener.ts';
import { frame, OPCODE, RawClient } from '../helpers/raw-client.ts';

useEchoListener();

describe('the heartbeat', () => {
  it('the heartbeat cuts off only a worker that is silent for three intervals', async () => {
    const quick = await listenEchoing({ heartbeatMs: 100 });
    onTestFinished(() => quick.close());
    const alive = await connectGood(quick);
    const dead = await RawClient.openWebSocket(quick.port, AUTHORIZATION);
    alive.onMessage(() => undefined);
    const deadMs = await dead.untilClosed();
    expect(deadMs).toBeGreaterThan(250);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(quick.endings).toEqual([{ id: 2, code: 1006, reason: 'nothing was received for 0.3 s' }]);
  });

  it('the heartbeat cuts off a worker whose message trickles in for too long, but not one that floods it with pings', async () => {
    const quick = await listenEchoing({ heartbeatMs: 50 });
    onTestFinished(() => quick.close());
    const dripping = await RawClient.openWebSocket(quick.port, AUTHORIZATION);
    const pinging = await RawClient.openWebSocket(quick.port, AUTHORIZATION);
    dripping.socket.write(frame(OPCODE.binary, Buffer.alloc(1_000_000), { announced: 2_000_000 }));
    const start = performance.now();
    while (performance.now() - start < 2 * 12 * 50) {
      dripping.socket.write(Buffer.alloc(1));
      for (let count = 0; count < 100; count++) pinging.socket.write(frame(OPCODE.ping, Buffer.alloc(100)));
      await sleep(20);
    }
    expect(pinging.socket.bytesWritten).toBeGreaterThan(2 * 65_536);
    const reason = 'a message was still incomplete after 0.6 s';
    expect(quick.endings).toEqual([{ id: 1, code: 1006, reason }]);
  });

  it('a worker that goes on sending after the goodbye is cut off', async () => {
    const port = await listenEchoing();
    onTestFinished(() => port.close());
    const client = await RawClient.openWebSocket(port.port, AUTHORIZATION);
    port.accepted[0]?.close(4402, 'enough');
    const message = frame(OPCODE.binary, Buffer.alloc(2 ** 22));
    for (let count = 0; count < 3; count++) client.socket.write(message);
    // It would have 3 s to answer.
    expect(await client.untilClosed()).toBeLessThan(2000);
    expect(port.endings).toEqual([{ id: 1, code: 4402, reason: 'enough' }]);
  });

  it('a worker that floods the coordinator with pings is cut off', async () => {
    const port = await listenEchoing();
    onTestFinished(() => port.close());
    const pinging = await RawClient.openWebSocket(port.port, AUTHORIZATION);
    pinging.socket.write(Buffer.concat(Array<Buffer>(1001).fill(frame(OPCODE.ping, Buffer.alloc(0)))));
    await pinging.untilClosed();
    const reason = 'more than 1000 pings and pongs came between two of ours';
    expect(port.endings).toEqual([{ id: 1, code: 4402, reason }]);
  });

  it('the heartbeat tolerates a stream of large messages that lasts longer than one message may take', async () => {
    const quick = await listenEchoing({ heartbeatMs: 50 });
    onTestFinished(() => quick.close());
    const busy = await connectGood(quick);
    busy.onMessage(() => undefined);
    for (let count = 0; count < 50; count++) {
      busy.send(Buffer.alloc(1_000_000));
      await sleep(20);
    }
    expect(quick.endings).toEqual([]);
  });

  it('the heartbeat tolerates a silent worker that reads its backlog slowly', async () => {
    const quick = await listenEchoing({ heartbeatMs: 200 });
    onTestFinished(() => quick.close());
    const slow = await RawClient.openWebSocket(quick.port, AUTHORIZATION);
    const [connection] = quick.accepted as [Connection];
    for (let count = 0; count < 60; count++) connection.send(Buffer.alloc(1_000_000));
    const start = performance.now();
    while (slow.socket.bytesRead < 40_000_000 && quick.endings.length === 0) {
      const before = slow.socket.bytesRead;
      slow.socket.resume();
      await until(() => slow.socket.bytesRead >= before + 2_000_000 || slow.socket.closed);
      slow.socket.pause();
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
    expect(performance.now() - start).toBeGreaterThan(3 * 200);
    expect(quick.endings).toEqual([]);
    slow.socket.destroy();
  });

  it('the heartbeat tolerates a worker that takes a long time to receive data already in flight', async () => {
    const quick = await listenEchoing({ heartbeatMs: 200 });
    onTestFinished(() => quick.close());
    const url = await startSlowLine(quick.port, 65_536, 40);
    const worker = await connect({ url, token: TOKEN, heartbeatMs: 200 });
    const received = new Promise<Buffer>((resolve) => worker.onMessage(resolve));
    await until(() => quick.accepted.length > 0);
    const start = performance.now();
    // Pings queue up after it.
    quick.accepted[0]?.send(Buffer.alloc(2_500_000));
    expect((await received).length).toBe(2_500_000);
    expect(performance.now() - start).toBeGreaterThan(2 * 3 * 200);
    expect(quick.endings).toEqual([]);
    worker.terminate();
  });

  /**
   * A line to the port that delivers `numBytes` every `intervalMs` to the worker, and passes on its bytes at
   * once.
   */
  async function startSlowLine(target: number, numBytes: number, intervalMs: number): Promise<string> {
    const server = net.createServer((client) => {
      const upstream = net.connect(target, '127.0.0.1');
      upstream.on('error', () => client.destroy());
      client.on('error', () => upstream.destroy());
      client.pipe(upstream);
      const line = setInterval(() => {
        const chunk = (upstream.read(numBytes) ?? upstream.read()) as Buffer | null;
        if (chunk) client.write(chunk);
      }, intervalMs);
      client.on('close', () => {
        clearInterval(line);
        upstream.destroy();
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    return `ws://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  }
});
