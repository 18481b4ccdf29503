// Settings of `ws` that hold on both ends, each with its cause.
import { MAX_FRAGMENTS, MAX_MESSAGE_BYTES } from './limits.ts';

/** Time for the peer to answer a goodbye; the default of 30 s would hold up the end of a run. */
export const CLOSE_TIMEOUT_MS = 3000;

/** Spread into the options of a server or a client. */
export const SOCKET_OPTIONS = {
  /** Tensors hardly compress, and 90 KB of zeros could become 90 MiB. A client of ws would ask for it by default. */
  perMessageDeflate: false,
  /** The default is 100 MiB a connection. */
  maxPayload: MAX_MESSAGE_BYTES,
  /** A million tiny ones cost far more memory than their bytes. */
  maxFragments: MAX_FRAGMENTS,
  /** `WebSocketConnection` answers pings itself, never more than one at a time. */
  autoPong: false,
  closeTimeout: CLOSE_TIMEOUT_MS,
  /** Close reasons are text for our log. */
  skipUTF8Validation: false,
} as const;
