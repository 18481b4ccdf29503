// 64-bit fingerprints of tensors as 16 hexadecimal digits: messages carry them to prove that both sides
// mean the same bytes.
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';

/** Fingerprint of `length` f32 at `address`, at memory speed. */
export function fingerprintOf(kernels: Kernels, address: number, length: number): string {
  return formatFingerprint(kernels.fingerprint64(address, length));
}

/** A fingerprint as 16 hexadecimal digits. */
export function formatFingerprint(fingerprint: bigint): string {
  return fingerprint.toString(16).padStart(16, '0');
}

/** Fingerprints bytes that are not in WebAssembly memory, through a copy that is. */
export class ByteFingerprinter {
  readonly #kernels: Kernels;
  readonly #memory: Memory;
  #copy = { address: 0, byteLength: 0 };

  constructor(kernels: Kernels, memory: Memory) {
    this.#kernels = kernels;
    this.#memory = memory;
  }

  /** Fingerprint of bytes whose number is a multiple of 4. */
  fingerprint(bytes: Uint8Array): string {
    return fingerprintOf(this.#kernels, this.copy(bytes), bytes.byteLength / 4);
  }

  /** Address of a copy of the bytes, valid until the next call. */
  copy(bytes: Uint8Array): number {
    const address = this.reserve(bytes.byteLength);
    this.#memory.bytes(address, bytes.byteLength).set(bytes);
    return address;
  }

  /** Address of room for a copy, which the caller makes; valid until the next call. */
  reserve(byteLength: number): number {
    if (byteLength > this.#copy.byteLength) {
      // Doubled, since what it was before is never free again.
      const room = Math.max(byteLength, 2 * this.#copy.byteLength);
      this.#copy = { address: this.#memory.allocate(room, 'fingerprints'), byteLength: room };
    }
    return this.#copy.address;
  }
}

/** One fingerprint for a whole vector, from those of its buckets in order (FNV-1a over them). */
export function combineFingerprints(buckets: readonly string[]): string {
  let hash = 0xcbf29ce484222325n;
  for (const bucket of buckets) hash = BigInt.asUintN(64, (hash ^ BigInt(`0x${bucket}`)) * 0x100000001b3n);
  return formatFingerprint(hash);
}
