// SHA-256 of what may be larger than Node.js hashes at once, which is less than 2 GiB.
import { createHash, type Hash } from 'node:crypto';

const BLOCK_BYTES = 2 ** 26;

/** Adds bytes to a hash, block by block. */
export function updateHash(hash: Hash, { buffer, byteOffset, byteLength }: ArrayBufferView): Hash {
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  for (let start = 0; start < byteLength; start += BLOCK_BYTES)
    hash.update(bytes.subarray(start, start + BLOCK_BYTES));
  return hash;
}

/** SHA-256, in hexadecimal. */
export function sha256Of(bytes: ArrayBufferView): string {
  return updateHash(createHash('sha256'), bytes).digest('hex');
}
