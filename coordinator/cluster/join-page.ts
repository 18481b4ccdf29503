// The files of the page that makes a tab of a browser a worker. They hold nothing of a run, so that everybody
// may have them; a tab shows the token when it connects.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import { ANY_HOST, hostAndPort, httpUrl } from '../../src/protocol/connection.ts';
import type { TlsFiles } from '../../src/protocol/tls.ts';
import type { WorkerTokens } from '../../src/protocol/worker-tokens.ts';

/** The page of a port, as its users are told of it. */
export interface BrowserWorkers {
  /** The name or address of this machine that the link names; default: one that it finds. */
  readonly address?: string | undefined;
  /** True where the token was made for this run: nobody could know it but by the link. */
  readonly isTokenNew: boolean;
}

/** A file, as it is answered. */
interface PageFile {
  readonly content: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Nothing but our own files and kernels; no inline script or style, no frame around it, no referrer, and
 * no copy that outlives the version of the program.
 */
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'X-Frame-Options': 'DENY',
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cache-Control': 'no-store',
  Connection: 'close',
} as const;

const HTML = 'text/html; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';
const STYLE = 'text/css; charset=utf-8';

/** The place of each file in the package, and its type, by its address below `join`. */
const FILES: ReadonlyMap<string, readonly [place: string, type: string]> = new Map([
  ['', ['#join/index.html', HTML]],
  ['/page.js', ['#join/page.js', SCRIPT]],
  ['/tab.js', ['#join/tab.js', SCRIPT]],
  ['/page.css', ['#join/page.css', STYLE]],
  ['/join.css', ['#join/join.css', STYLE]],
  ['/icon.svg', ['#join/icon.svg', 'image/svg+xml']],
  ['/kernels-strict.wasm', ['#kernels-strict.wasm', 'application/wasm']],
  ['/kernels-fused.wasm', ['#kernels-fused.wasm', 'application/wasm']],
]);

/** The file at the path of a request, whatever prefix a proxy has before it; undefined where there is none. */
export async function joinPage(path: string): Promise<PageFile | undefined> {
  const [, name] = /^(?:\/.*)?\/join((?:\/[\w.-]+)?)$/.exec(path) ?? [];
  const file = name === undefined ? undefined : FILES.get(name);
  if (!file) return undefined;
  const [place, type] = file;
  const content = await readFile(createRequire(import.meta.url).resolve(place));
  return { content, headers: { ...HEADERS, 'Content-Type': type } };
}

/** The parts of the link that opens the page. */
export interface JoinLink {
  readonly host: string;
  readonly port: number;
  readonly tls?: TlsFiles | undefined;
  readonly publicUrl?: string | undefined;
  readonly token: string | undefined;
  readonly workerTokens?: WorkerTokens | undefined;
  readonly browserWorkers: BrowserWorkers;
}

/**
 * The link that opens the page. The token is in its fragment, which a browser sends to nobody; where what is
 * printed may be kept (`isWatched` is false), a word stands for one that the user has.
 */
export function joinLink(link: JoinLink, isWatched: boolean): string {
  const { browserWorkers, host, port, publicUrl, tls, token, workerTokens } = link;
  const name = browserWorkers.address ?? (ANY_HOST.includes(host) ? addressHere() : host);
  const base =
    publicUrl === undefined ? `http${tls ? 's' : ''}://${hostAndPort(name, port)}` : httpUrl(publicUrl);
  const page = `${String(base).replace(/\/$/, '')}/join`;
  if (token === undefined && !workerTokens) return page;
  const shown = token !== undefined && (isWatched || browserWorkers.isTokenNew) ? token : 'TOKEN';
  return `${page}#token=${encodeURIComponent(shown)}`;
}

/** The first address at which others may reach this machine, rather one of IPv4. */
function addressHere(): string {
  const addresses = Object.values(os.networkInterfaces())
    .flatMap((found) => found ?? [])
    .filter(({ internal, scopeid }) => !internal && !scopeid);
  const { address } = addresses.find(({ family }) => family === 'IPv4') ?? addresses[0] ?? {};
  return address ?? '127.0.0.1';
}
