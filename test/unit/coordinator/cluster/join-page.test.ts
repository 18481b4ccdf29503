// The page that makes a tab a worker: its files, and the link that opens it.
import { describe, expect, it } from 'vitest';
import { joinLink, joinPage } from '../../../../coordinator/cluster/join-page.ts';
import type { JoinLink } from '../../../../coordinator/cluster/join-page.ts';

describe('the link of the page', () => {
  const link: JoinLink = {
    host: '127.0.0.1',
    port: 7700,
    token: 'a-token-that-is-long',
    browserWorkers: { isTokenNew: false },
  };

  it.each<[string, Partial<JoinLink>, boolean, string]>([
    ['shows the token on a terminal', {}, true, 'http://127.0.0.1:7700/join#token=a-token-that-is-long'],
    ['leaves it out elsewhere', {}, false, 'http://127.0.0.1:7700/join#token=TOKEN'],
    [
      'shows one that was made for the run, since nobody else knows it',
      { browserWorkers: { isTokenNew: true } },
      false,
      'http://127.0.0.1:7700/join#token=a-token-that-is-long',
    ],
    ['has none where none is wanted', { token: undefined }, true, 'http://127.0.0.1:7700/join'],
    [
      'escapes a token',
      { token: 'sixteen&#%+/=characters' },
      true,
      'http://127.0.0.1:7700/join#token=sixteen%26%23%25%2B%2F%3Dcharacters',
    ],
    ['is one of TLS', { tls: {} }, false, 'https://127.0.0.1:7700/join#token=TOKEN'],
    ['has the brackets of IPv6', { host: 'fe80::1' }, false, 'http://[fe80::1]:7700/join#token=TOKEN'],
    [
      'is that of a proxy, with its path',
      { publicUrl: 'wss://example.org/lockstep' },
      false,
      'https://example.org/lockstep/join#token=TOKEN',
    ],
    [
      'names the address that was given',
      { host: '::', browserWorkers: { address: 'desk.local', isTokenNew: false } },
      false,
      'http://desk.local:7700/join#token=TOKEN',
    ],
  ])('the link %s', (_, settings, isWatched, expected) => {
    expect(joinLink({ ...link, ...settings }, isWatched)).toBe(expected);
  });

  it.each(['0.0.0.0', '::'])('the link of a port on %s names an address of this machine', (host) => {
    const { hostname } = new URL(joinLink({ ...link, host }, false));
    expect(hostname).not.toMatch(/^0\.0\.0\.0$|^\[::\]$/);
  });
});

describe('the files of the page', () => {
  it.each([
    ['/join', 'text/html; charset=utf-8'],
    ['/a/path/join', 'text/html; charset=utf-8'],
    ['/join/page.js', 'text/javascript; charset=utf-8'],
    ['/join/tab.js', 'text/javascript; charset=utf-8'],
    ['/join/page.css', 'text/css; charset=utf-8'],
    ['/join/join.css', 'text/css; charset=utf-8'],
    ['/join/icon.svg', 'image/svg+xml'],
    ['/a/path/join/kernels-strict.wasm', 'application/wasm'],
    ['/join/kernels-fused.wasm', 'application/wasm'],
  ])('%s is a file of the page', async (path, type) => {
    const file = await joinPage(path);
    expect(file?.headers['Content-Type']).toBe(type);
    expect(file?.content.length).toBeGreaterThan(100);
  });

  it.each([
    '/',
    '/joint',
    '/join/',
    '/join/../package.json',
    '/join/%2e%2e/x',
    '/join/index.html',
    'join',
    '',
  ])('%o is no file of the page', async (path) => {
    expect(await joinPage(path)).toBeUndefined();
  });
});
