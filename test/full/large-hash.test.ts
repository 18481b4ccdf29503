// Hashes of what is larger than Node.js hashes at once.
import { expect, it } from 'vitest';
import { sha256Of } from '../../src/sha256.ts';

it('more than 2 GiB have the hash that sha256sum gives them', { timeout: 120_000 }, () => {
  // head -c 2147483656 /dev/zero | sha256sum
  expect(sha256Of(new Uint8Array(2 ** 31 + 8))).toBe(
    '58a3e88bb31d949356cbde4386c02f3c205285c8b29ccb0b792204647ea55fcf',
  );
});
