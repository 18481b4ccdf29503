// A TCP proxy that resets connections after so many bytes from the client: one after the other, as listed.
import net from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

/** Passes on to `url`; connection i is cut after `limits[i]` bytes, those beyond the list never. Resolves to its address. */
export async function startCuttingProxy(url: string, limits: readonly number[]): Promise<string> {
  const { port, hostname } = new URL(url);
  const sockets = new Set<net.Socket>();
  let numConnections = 0;
  const server = net.createServer((client) => {
    const limit = limits[numConnections++] ?? Infinity;
    const upstream = net.connect(Number(port), hostname);
    let numBytes = 0;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => [client, upstream].forEach((either) => either.destroy()));
    }
    upstream.pipe(client);
    client.on('data', (data) => {
      const passedOn = data.subarray(0, Math.max(0, limit - numBytes));
      numBytes += data.length;
      // Reset only when what was let through is in the hands of the kernel.
      upstream.write(passedOn, () => {
        if (numBytes >= limit) upstream.resetAndDestroy();
      });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
