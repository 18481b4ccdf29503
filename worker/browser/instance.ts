// Who a tab's worker is, over all its connections: the key pair of `src/protocol/instance.ts`, made and used
// without `node:crypto`, nor `crypto.subtle`, which a page over plain HTTP has not.
import { getPublicKey, hashes, sign, utils } from '@noble/ed25519';
import { sha512 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { signedBytes } from '../../src/protocol/challenge.ts';
import type { Challenge } from '../../src/protocol/challenge.ts';

hashes.sha512 = sha512;

/** A worker, to itself. */
export class TabInstance {
  /** `Hex64`. */
  readonly name: string;
  readonly #secretKey = utils.randomSecretKey();

  constructor() {
    this.name = bytesToHex(getPublicKey(this.#secretKey));
  }

  /** `Hex128`, the proof that the signer of this challenge has the name. */
  prove(challenge: Challenge): string {
    return bytesToHex(sign(signedBytes(challenge), this.#secretKey));
  }
}
