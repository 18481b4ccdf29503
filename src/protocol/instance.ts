// Who a worker process is, over all its connections: a key pair that it draws when it starts.
// The public key is its name, and only a signature shows that a name is one's own, so that
// nobody is taken for another: not for its host and process id, which containers share, nor
// for having heard the name.
import { createPrivateKey, createPublicKey, randomBytes, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { signedBytes } from './challenge.ts';
import type { Challenge } from './challenge.ts';

/** An Ed25519 private key in PKCS #8 (RFC 8410), without its last 32 bytes: a seed, which may be any. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex');

/**
 * The encodings of all points of small order, without the bit for the sign: libsodium's list
 * (`ge25519_has_small_order`). For such a key anyone can make up signatures, which fit every
 * challenge or at least an eighth of them.
 */
const SMALL_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);

/** A worker process, to itself. */
export class Instance {
  /** `Hex64`. */
  readonly name: string;
  readonly #privateKey: KeyObject;

  constructor() {
    // Not by `generateKeyPairSync`: in Node 20 the work behind it shares a lock with its keys. If
    // it is collected while one of them is exported, it waits for that lock in the thread that
    // holds it, and so forever; about once in 10,000 keys.
    const key = Buffer.concat([PKCS8_HEAD, randomBytes(32)]);
    this.#privateKey = createPrivateKey({ key, format: 'der', type: 'pkcs8' });
    const { x = '' } = createPublicKey(this.#privateKey).export({ format: 'jwk' });
    this.name = Buffer.from(x, 'base64url').toString('hex');
  }

  /** `Hex128`, the proof that the signer of this challenge has the name. */
  prove(challenge: Challenge): string {
    return sign(null, signedBytes(challenge), this.#privateKey).toString('hex');
  }
}

/** Tells whether the instance of this name has signed the challenge. */
export function isProof(proof: string, name: string, challenge: Challenge): boolean {
  const publicKey = Buffer.from(name, 'hex');
  if (isOfSmallOrder(publicKey)) return false;
  try {
    const x = publicKey.toString('base64url');
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    return verify(null, signedBytes(challenge), key, Buffer.from(proof, 'hex'));
  } catch {
    // Not every 32 bytes are a key.
    return false;
  }
}

function isOfSmallOrder(publicKey: Buffer): boolean {
  const unsigned = Buffer.from(publicKey);
  unsigned[31] = (unsigned[31] ?? 0) & 0x7f;
  return SMALL_ORDER.has(unsigned.toString('hex'));
}
