// The promise across processors. Apart from the versions of Node.js: it takes as long as all of them.
import { describe } from 'vitest';
import { binary, testPlatform } from '../helpers/platform.ts';

/** Debian's cross libraries. The loader is run by name: with `qemu -L` Node.js 26 never starts. */
const ARM_LIBRARIES = '/usr/aarch64-linux-gnu/lib';
const ARM_EMULATOR = [
  'qemu-aarch64-static',
  `${ARM_LIBRARIES}/ld-linux-aarch64.so.1`,
  '--library-path',
  ARM_LIBRARIES,
];

describe('Node.js 26.10.0 on Arm', () =>
  testPlatform({ node: [...(process.arch === 'arm64' ? [] : ARM_EMULATOR), binary('node-26-arm64')] }));
