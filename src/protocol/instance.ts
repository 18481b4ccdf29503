// Who a worker process is, over all its connections: a key pair that it draws when it starts. The public key is its name,
// and only a signature shows that a name is one's own, so that nobody is taken for another: not for its host and process
// id, which containers share, nor for having heard the name.
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

/** What a worker signs: drawn by the coordinator for one connection, so that a recorded signature fits no other. */
export interface Challenge {
  readonly run: string;
  readonly nonce: string;
}

/** A worker process, to itself. */
export class Instance {
  /** `Hex64`. */
  readonly name: string;
  readonly #privateKey: KeyObject;

  constructor() {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    this.name = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url').toString('hex');
    this.#privateKey = privateKey;
  }

  /** `Hex128`: that whoever answers this challenge has the name. */
  prove(challenge: Challenge): string {
    return sign(null, signedBytes(challenge), this.#privateKey).toString('hex');
  }
}

/** Whether the instance of this name has signed the challenge. */
export function isProof(proof: string, name: string, challenge: Challenge): boolean {
  try {
    const x = Buffer.from(name, 'hex').toString('base64url');
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    return verify(null, signedBytes(challenge), key, Buffer.from(proof, 'hex'));
  } catch {
    // Not every 32 bytes are a key.
    return false;
  }
}

function signedBytes({ run, nonce }: Challenge): Buffer {
  return Buffer.from(JSON.stringify(['lockstep', run, nonce]));
}
