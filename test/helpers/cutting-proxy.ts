// A TCP proxy that resets each connection after a given number of bytes from the client.
import net from 'node:net';
import { startTcpServer } from './tcp-server.ts';

/**
 * Passes on to `url`; connection i is cut after `limits[i]` bytes, those beyond the list never. Resolves to
 * its address.
 */
export function startCuttingProxy(url: string, limits: readonly number[]): Promise<string> {
  const { port, hostname } = new URL(url);
  let numConnections = 0;
  return startTcpServer((client) => {
    const limit = limits[numConnections++] ?? Infinity;
    const upstream = net.connect(Number(port), hostname);
    let numBytes = 0;
    upstream.on('error', () => undefined);
    // When the server ends the client, the upstream ends too.
    for (const socket of [client, upstream]) {
      socket.on('close', () => [client, upstream].forEach((either) => either.destroy()));
    }
    upstream.pipe(client);
    client.on('data', (data) => {
      const passedOn = data.subarray(0, Math.max(0, limit - numBytes));
      numBytes += data.length;
      // Reset only when the kernel has taken the forwarded bytes.
      upstream.write(passedOn, () => {
        if (numBytes >= limit) upstream.resetAndDestroy();
      });
    });
  });
}
