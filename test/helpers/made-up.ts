// Gradients that a fake worker makes up, and other answers to its task, which break the rules.
import { ByteFingerprinter } from '../../src/engine/fingerprint.ts';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { Memory } from '../../src/memory.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import type { GradientMessage, TrainMessage } from '../../src/protocol/message-types.ts';
import { maximalNodes } from '../../src/tree.ts';

/** f32 of the model's only bucket: 8 x 64 + 64 weights, 64 + 1 biases. */
const BUCKET_LENGTH = 641;

const kernelModule = await loadKernelModule();
const memory = new Memory();
const fingerprinter = new ByteFingerprinter(await instantiateKernels(kernelModule, memory.wasm), memory);

/** A gradient for the task `work`, as the coordinator expects it, except for its value, which is made up. */
export function madeUp(
  work: TrainMessage,
  lie: Partial<GradientMessage> = {},
  length = BUCKET_LENGTH,
): { message: GradientMessage; body: Uint8Array } {
  const { run, round, task, weightsFingerprint, firstShard, bounds, numShards } = work;
  const body = new Uint8Array(new Float32Array(length).fill(0.5).buffer);
  const [node = { level: 0, index: 0 }] = maximalNodes(firstShard, firstShard + bounds.length - 1, numShards);
  const key = { run, round, task, weightsFingerprint, ...node, bucket: 0, lossSum: 1 };
  return {
    message: { type: 'gradient', ...key, fingerprint: fingerprinter.fingerprint(body), ...lie },
    body,
  };
}

/** An invalid reply to a worker's first task, and the reason for which it gets the worker disconnected. */
interface Lie {
  readonly answer: (work: TrainMessage) => Buffer;
  readonly reason: RegExp;
}

/** Lies by what they are. */
export const LIES = {
  'a gradient whose bytes changed on the way': {
    answer: (work) => {
      const { message, body } = madeUp(work);
      body[1000] = 1;
      return encodeMessage(message, body);
    },
    reason: /sent a damaged bucket 0/,
  },
  'a gradient that is too short': {
    answer: (work) => encoded(madeUp(work, {}, BUCKET_LENGTH - 1)),
    reason: /sent 2560 bytes for bucket 0/,
  },
  'a gradient without its loss': {
    answer: (work) => encoded(madeUp(work, { lossSum: undefined })),
    reason: /sent 2564 bytes for bucket 0/,
  },
  'a bucket that the model does not have': {
    answer: (work) => encoded(madeUp(work, { bucket: 5 })),
    reason: /sent 2564 bytes for bucket 5/,
  },
  'a gradient of other weights': {
    answer: (work) => encoded(madeUp(work, { weightsFingerprint: '0123456789abcdef' })),
    reason: /computed round \d+ with other weights/,
  },
  'a node that the tree does not have': {
    answer: (work) => encoded(madeUp(work, { level: 3, index: 9 })),
    reason: /sent a sum that does not exist/,
  },
  "a shard of somebody else's": {
    answer: (work) =>
      encoded(madeUp(work, { level: 0, index: work.firstShard === 0 ? work.numShards - 1 : 0 })),
    reason: /sent a sum it was not asked for/,
  },
  'the end of a task of which it sent nothing': {
    answer: ({ run, round, task }) =>
      encodeMessage({ type: 'finished', run, round, task, computeMs: 1, sendMs: 1, residentBytes: 1 }),
    reason: /finished a task without sending all of its sums/,
  },
  'a message whose header was damaged': {
    answer: (work) => {
      const data = encoded(madeUp(work));
      data[40] = (data[40] as number) ^ 1;
      return data;
    },
    reason: /message checksum does not match/,
  },
  'a message that is not its turn': {
    answer: () => encodeMessage({ type: 'ready', proof: '01'.repeat(64) }),
    reason: /"ready" came while ready/,
  },
} satisfies Readonly<Record<string, Lie>>;

/** The bytes of a gradient. */
export function encoded({ message, body }: ReturnType<typeof madeUp>): Buffer {
  return encodeMessage(message, body);
}
