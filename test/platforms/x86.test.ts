// The promise across versions of Node.js.
import { describe } from 'vitest';
import { binary, testPlatform } from '../helpers/platform.ts';

describe.each([
  { name: 'Node.js 20.15.0 on x86-64', node: [binary('node-20')] },
  { name: 'Node.js 22.2.0 on x86-64', node: [binary('node-22')] },
  // From 24 on V8 can make vectors of 256 bits.
  ...['128', '256'].flatMap((width) => [
    { name: `Node.js 24.21.0 on x86-64, ${width} bits`, node: [binary('node-24')], width },
    { name: `Node.js 26.10.0 on x86-64, ${width} bits`, node: [binary('node-26')], width },
  ]),
])('$name', testPlatform);
