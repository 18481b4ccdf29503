// What stands for Node.js in a tab does what Node.js does.
import crypto from 'node:crypto';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import zlib from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { isProof } from '../../../src/protocol/instance.ts';
import { authorizationIn, tokenSubprotocol } from '../../../src/protocol/tab-token.ts';
import { browserName } from '../../../worker/browser/browser-name.ts';
import { TabInstance } from '../../../worker/browser/instance.ts';
import * as node from '../../../worker/browser/node.ts';

const bytes = Uint8Array.from({ length: 1000 }, (_, index) => (index * 167) & 255);

describe('the stand-ins for Node.js in a tab', () => {
  it.each([0, 1, 55, 56, 63, 64, 65, 127, 1000])(
    'SHA-256 and CRC-32 of %i bytes are those of Node.js',
    (length) => {
      const part = bytes.subarray(0, length);
      const inOne = node.createHash('sha256').update(part).digest('hex');
      expect(inOne).toBe(crypto.createHash('sha256').update(part).digest('hex'));
      const inTwo = node.createHash('sha256').update('[1,"ü"]').update(part).digest('hex');
      expect(inTwo).toBe(crypto.createHash('sha256').update('[1,"ü"]').update(part).digest('hex'));
      expect(node.crc32(part)).toBe(zlib.crc32(part));
      expect(node.crc32(part, 0xfedc_ba98)).toBe(zlib.crc32(part, 0xfedc_ba98));
    },
  );

  it('a hash takes memory that threads share', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(100)).fill(7);
    const expected = crypto.createHash('sha256').update(shared).digest('hex');
    expect(node.createHash('sha256').update(shared).digest('hex')).toBe(expected);
  });

  it.each(
    '127.0.0.1 0.0.0.0 255.255.255.255 256.1.1.1 1.2.3 1.2.3.4.5 1.2.3.4. 01.2.3.4 ::1 :: fe80::1 1::2::3 ::ffff:1.2.3.4 [::1] localhost'
      .split(' ')
      .concat('', ' ::1'),
  )('%o is an address of the same kind as in Node.js', (text) => {
    expect([node.isIPv4(text), node.isIPv6(text)]).toEqual([net.isIPv4(text), net.isIPv6(text)]);
  });

  it('a wait ends when its signal aborts, and else in time', async () => {
    const stop = new AbortController();
    const waits = node.setTimeout(60_000, undefined, { signal: stop.signal });
    stop.abort();
    await waits;
    await node.setTimeout(1);
    const order: string[] = [];
    void node.setImmediate().then(() => order.push('turn'));
    order.push('now');
    await sleep(50);
    expect(order).toEqual(['now', 'turn']);
  });

  it('a Buffer reads and writes what that of Node.js does', () => {
    const there = node.Buffer.allocUnsafe(16).fill(0);
    const here = Buffer.alloc(16);
    for (const buffer of [there, here] as const) {
      buffer.writeUInt32LE(0xfedc_ba98, 0);
      buffer.writeUInt16LE(0xfedc, 4);
      buffer.set([1, 2, 3], 8);
    }
    expect([...there]).toEqual([...here]);
    expect([there.readUInt32LE(0), there.readUInt16LE(4)]).toEqual([0xfedc_ba98, 0xfedc]);
    expect([...node.Buffer.concat([Uint8Array.of(1), Uint8Array.of(2)])]).toEqual([1, 2]);
    expect(node.Buffer.from('a-token~!').toString('hex')).toBe(Buffer.from('a-token~!').toString('hex'));
  });
});

describe('the identity of a tab', () => {
  it('the coordinator takes the proof of a tab, and no other', () => {
    const [own, other] = [new TabInstance(), new TabInstance()];
    const challenge = { run: 'run', nonce: '0123456789abcdef' };
    expect(own.name).toMatch(/^[0-9a-f]{64}$/);
    expect(isProof(own.prove(challenge), own.name, challenge)).toBe(true);
    expect(isProof(own.prove(challenge), other.name, challenge)).toBe(false);
    expect(isProof(own.prove(challenge), own.name, { ...challenge, nonce: 'f'.repeat(16) })).toBe(false);
  });

  it('a token of any characters travels as a subprotocol', () => {
    const token = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).join('');
    const subprotocol = tokenSubprotocol(token);
    expect(subprotocol).toMatch(/^[\w.]+$/);
    expect(authorizationIn(`lockstep.v1, ${subprotocol}`)).toBe(`Bearer ${token}`);
    expect(authorizationIn('lockstep.v1')).toBeUndefined();
  });

  it.each([
    [
      'Chrome 141',
      'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36',
    ],
    [
      'Chrome 156',
      'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/156.0.0.0 Safari/537.36',
    ],
    [
      'Edge 141',
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0',
    ],
    ['Firefox 143', 'Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0'],
    [
      'Safari 18',
      'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15',
    ],
    [
      'Safari 18',
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1',
    ],
    ['unknown', 'curl/8.0'],
  ])('a browser is known as %s by its user agent', (name, userAgent) => {
    expect(browserName(userAgent)).toBe(name);
  });
});
