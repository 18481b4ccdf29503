// A gradient that a fake worker makes up: everything except its value is as the coordinator expects.
import { ByteFingerprinter } from '../../src/engine/fingerprint.ts';
import { instantiateKernels, loadKernelModule } from '../../src/kernels/kernels.ts';
import { Memory } from '../../src/memory.ts';
import type { GradientMessage, TrainMessage } from '../../src/protocol/message-types.ts';
import { maximalNodes } from '../../src/tree.ts';

/** f32 of the model's only bucket: 8 x 64 + 64 weights, 64 + 1 biases. */
export const BUCKET_LENGTH = 641;

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
