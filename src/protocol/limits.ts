// The numbers both ends of a connection agree on. `docs/protocol.md` gives the reasons in full.

/** Raised with every change of the envelope or of a message; both sides must have the same. */
export const PROTOCOL_VERSION = 12;

/**
 * Asked for and granted in the WebSocket handshake, so that a stranger is turned away
 * before any byte is parsed.
 */
export const SUBPROTOCOL = 'lockstep.v1';

/** Magic, version, type, header length and checksum. */
export const FIXED_BYTES = 16;

/** Room for the `welcome` of 1,000 layers with every field given: 76 bytes each. */
export const MAX_HEADER_BYTES = 128 * 1024;

/** Values in one header, keys counted: 11 for each of 1,000 layers, and a task's 1,025 bounds. */
export const MAX_HEADER_ITEMS = 16_384;

/**
 * Keys of one map: `hello`, `welcome` and the longest layers have about a dozen. An object
 * of thousands takes 10 ms.
 */
export const MAX_MAP_KEYS = 64;

/** Containers inside containers: `welcome` needs 3, and 2 more for each level of nested layers. */
export const MAX_HEADER_DEPTH = 32;

/** A frame cannot be interrupted: at 10 Mbit/s a heartbeat waits 3.4 s behind this many bytes. */
export const MAX_BODY_BYTES = 4 * 1024 * 1024;

/** Handed to a worker that loads, until the system has taken it: 256 MiB for all 1,024 that there may be. */
export const CHUNK_FRAGMENT_BYTES = 256 * 1024;

/** Most fragments of a message: a head, and a chunk of the dataset after it. */
export const MAX_FRAGMENTS = 1 + MAX_BODY_BYTES / CHUNK_FRAGMENT_BYTES;

/** A worker makes no more results while more of them than this waits for its coordinator to read. */
export const MAX_UNREAD_BYTES = 64 * 2 ** 20;

/** UTF-16 units of what a worker says went wrong, and of why it is refused: senders cut it. */
export const MAX_REASON_LENGTH = 1000;

/** UTF-16 units of a host's name. */
export const MAX_HOST_LENGTH = 255;

/** UTF-16 units of the address of an aggregator: a scheme, a host and a port. */
export const MAX_URL_LENGTH = MAX_HOST_LENGTH + 16;

/** Workers below an aggregator that it names: 67 bytes of a header each. */
export const MAX_MEMBERS = 1024;

/** The longest message there is: what a WebSocket may buffer before it gives up on its peer. */
export const MAX_MESSAGE_BYTES = FIXED_BYTES + MAX_HEADER_BYTES + MAX_BODY_BYTES;
