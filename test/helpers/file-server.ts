// A web server of files, as anybody has one.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import sirv from 'sirv';
import { onTestFinished } from 'vitest';

/** Serves the files of a folder until the test ends; resolves to its address, which ends in a slash. */
export async function serveFiles(folder: string): Promise<string> {
  const server = createServer(sirv(folder, { dev: true }));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
