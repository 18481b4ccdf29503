// Keeps the garbage collector out of the way of messages by freeing their buffers while they are
// young. Megabytes pass through a connection each step while hardly any JavaScript object is made,
// so V8 seldom collects the young generation by itself; it then sees external memory pile up, and
// answers with full collections of 10 ms and more, every few steps.
import v8 from 'node:v8';
import vm from 'node:vm';

/** Bytes of messages between two collections of the young generation, which take below 1 ms each. */
const BYTES_PER_COLLECTION = 4 * 2 ** 20;

/** Flags of V8 for helper threads of the collector. */
const HELPERS = ['concurrent-array-buffer-sweeping', 'concurrent-marking', 'parallel-scavenge'];

let collectYoung: ((options: { type: 'minor' }) => void) | undefined;
let bytesSinceCollection = 0;

/**
 * Collects the buffers of messages from now on. It sets flags of V8, which hold for the whole
 * process, so only programs of our own call it.
 */
export function collectMessageBuffers(): void {
  // Helper threads of the collector cost more than they save where every core computes:
  // a coordinator of two workers on two cores took 11.7 ms of processor time a step
  // with them, 6.5 ms without.
  for (const flag of HELPERS) v8.setFlagsFromString(`--no-${flag}`);
  v8.setFlagsFromString('--expose-gc');
  collectYoung = vm.runInNewContext('gc') as typeof collectYoung;
  v8.setFlagsFromString('--no-expose-gc');
}

/** Notes that a message of this size has become garbage, or soon will. */
export function noteMessageBuffer(byteLength: number): void {
  bytesSinceCollection += byteLength;
  if (bytesSinceCollection < BYTES_PER_COLLECTION) return;
  bytesSinceCollection = 0;
  collectYoung?.({ type: 'minor' });
}
