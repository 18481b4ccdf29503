// What a worker signs to prove that it is the instance of its name, in Node.js and in a browser.

/**
 * The challenge that a worker signs, drawn for one connection, so that a recorded
 * signature fits no other.
 */
export interface Challenge {
  readonly run: string;
  readonly nonce: string;
}

/** The bytes that are signed. */
export function signedBytes({ run, nonce }: Challenge): Buffer {
  return Buffer.from(JSON.stringify(['lockstep', run, nonce]));
}
