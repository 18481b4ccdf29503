// How a connection ends because of what the peer sent.

/** WebSocket close codes this project uses; those from 4400 on are its own. */
export const CLOSE = {
  /** The run is over, or the worker leaves politely. */
  normal: 1000,
  /** This process is shutting down. */
  goingAway: 1001,
  /** A text message came where only binary ones are spoken. */
  binaryOnly: 1003,
  /** Bytes that are no message: envelope, header, a field or the body's length are wrong. */
  malformed: 4400,
  /** Another version or other kernels: the two cannot train together. */
  incompatible: 4401,
  /** A sound message that the sender may not send, or not now. */
  protocol: 4402,
  /** The peer took too long for what it had to do. */
  timeout: 4403,
  /** The same worker has come back on another connection, which takes this one's place. */
  superseded: 4404,
  /** The worker's results were not what their shards give. */
  banned: 4405,
  /** The worker has been at one task for far longer than it can take. */
  stuck: 4406,
} as const;

/** The codes of a `ProtocolError`; stable, for logs and tests. */
export type ProtocolErrorCode =
  | 'E_ENVELOPE_LENGTH'
  | 'E_ENVELOPE_MAGIC'
  | 'E_ENVELOPE_CHECKSUM'
  | 'E_ENVELOPE_PADDING'
  | 'E_PROTOCOL_VERSION'
  | 'E_HEADER_ENCODING'
  | 'E_MESSAGE_TYPE'
  | 'E_MESSAGE_FIELD'
  | 'E_MESSAGE_BODY'
  | 'E_UNEXPECTED_MESSAGE';

/** A close code that says whose fault the end of a connection is. */
export type ProtocolCloseCode = (typeof CLOSE)['malformed' | 'incompatible' | 'protocol'];

/** Enough for what was expected; what was sent instead may have 128 KiB. */
const MAX_MESSAGE_LENGTH = 500;

/**
 * The peer broke the protocol. Not a `LockstepError`: it is no mistake of the user's and must not end the
 * run, so a session has to tell it apart, closes this one connection with `closeCode` and continues.
 * What the message quotes of the peer's words may end up on a terminal: control characters become spaces.
 */
export class ProtocolError extends Error {
  readonly code: ProtocolErrorCode;
  readonly closeCode: ProtocolCloseCode;

  constructor(code: ProtocolErrorCode, message: string, closeCode: ProtocolCloseCode = CLOSE.malformed) {
    super(message.slice(0, MAX_MESSAGE_LENGTH).replace(/\p{Cc}/gu, ' '));
    this.name = 'ProtocolError';
    this.code = code;
    this.closeCode = closeCode;
  }
}
