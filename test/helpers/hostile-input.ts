// Checks for arbitrary bytes from a peer: they are parsed or refused in time, and change nothing that all
// objects share.
import { parseCoordinatorMessage, parseWorkerMessage } from '../../src/protocol/messages.ts';
import { ProtocolError } from '../../src/protocol/protocol-error.ts';

/** The longest time that a message may keep a process from its other connections. */
const MAX_STALL_MS = 50;
/** A busy machine makes an input slow once, or three times, but hardly six times in a row. */
const NUM_ATTEMPTS = 6;

const SHARED = [Object, Array, String, Number, Boolean, Function, Map, Set, RegExp, Uint8Array, Buffer];

/** All properties that objects share, by name. */
export function sharedProperties(): string[][] {
  return SHARED.flatMap((type) => [type, type.prototype as object]).map((owner) =>
    Reflect.ownKeys(owner).map(String),
  );
}

/** The results of both sides, including the side that never receives such a message. */
function outcomesOf(data: Buffer): ('parsed' | ProtocolError)[] {
  return [parseWorkerMessage, parseCoordinatorMessage].map((parse) => {
    try {
      parse(data);
      return 'parsed';
    } catch (error) {
      if (error instanceof ProtocolError) return error;
      throw error;
    }
  });
}

/**
 * True if both sides refuse the bytes. Asserts that they do so within 50 ms, in text that is safe for a
 * terminal.
 */
export function isRefused(data: Buffer): boolean {
  let outcomes: ('parsed' | ProtocolError)[] = [];
  let quickestMs = Infinity;
  for (let attempt = 0; attempt < NUM_ATTEMPTS && quickestMs >= MAX_STALL_MS; attempt++) {
    const startMs = performance.now();
    outcomes = outcomesOf(data);
    quickestMs = Math.min(quickestMs, performance.now() - startMs);
  }
  if (quickestMs >= MAX_STALL_MS) {
    throw new Error(`takes ${quickestMs} ms: ${data.toString('hex').slice(0, 2000)} (${data.length} bytes)`);
  }
  for (const outcome of outcomes) {
    if (outcome !== 'parsed' && !/^\P{Cc}{1,500}$/u.test(outcome.message))
      throw new Error(`a reason that is no line: ${JSON.stringify(outcome.message)}`);
  }
  return !outcomes.includes('parsed');
}
