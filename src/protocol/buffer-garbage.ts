// Keeps the garbage collector out of the way of messages: frees their buffers while they are young. Megabytes pass through a connection each step while
// hardly any JavaScript object is made, so the young generation is seldom collected of itself; V8 then sees
// external memory pile up, and answers with full collections of 10 ms and more, every few steps.
import v8 from 'node:v8';
import vm from 'node:vm';

/** Bytes of messages between two collections of the young generation, which take below 1 ms each. */
const BYTES_PER_COLLECTION = 8 * 2 ** 20;

// Its helper threads cost more than they save where every core computes: a coordinator of two workers on two
// cores took 11.7 ms of processor time a step with them, 6.5 ms without.
v8.setFlagsFromString('--no-concurrent-array-buffer-sweeping');
v8.setFlagsFromString('--no-concurrent-marking');
v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc') as (options: { type: 'minor' }) => void;
v8.setFlagsFromString('--no-expose-gc');

let bytesSinceCollection = 0;

/** Notes that a message of this size has become garbage, or soon will. */
export function noteMessageBuffer(byteLength: number): void {
  bytesSinceCollection += byteLength;
  if (bytesSinceCollection < BYTES_PER_COLLECTION) return;
  bytesSinceCollection = 0;
  collect({ type: 'minor' });
}
