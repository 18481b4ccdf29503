import { expect, it } from 'vitest';
import { PartialSums } from '../../../../coordinator/cluster/partial-sums.ts';
import { Round } from '../../../../coordinator/cluster/round.ts';
import type { RoundState } from '../../../../coordinator/cluster/round.ts';
import { ByteFingerprinter } from '../../../../src/engine/fingerprint.ts';
import { wholeTask } from '../../../../src/engine/engine.ts';
import { instantiateKernels } from '../../../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../../../src/kernels/load-kernels.ts';
import { Memory } from '../../../../src/memory.ts';
import { resolveModel } from '../../../../src/model/model.ts';
import { GRADIENT } from '../../../helpers/protocol-messages.ts';

const MODEL = resolveModel({ layers: [{ kind: 'dense', units: 8, activation: 'linear', bias: true }] }, [8]);

it('the partial sums of one session after the other take the same memory', async () => {
  const memory = new Memory();
  const kernels = await instantiateKernels(await loadKernelModule(), memory.wasm);
  const body = new Uint8Array(4 * MODEL.numParameters);
  const fingerprint = new ByteFingerprinter(kernels, memory).fingerprint(body);
  const state = { kernels, memory, model: MODEL, weightsFingerprint: GRADIENT.weightsFingerprint };
  const results = { takeSum: () => [], takeShard: () => undefined, restart: () => undefined };
  const round = new Round('train', wholeTask(Uint32Array.of(0), Uint32Array.of(0, 1)), results);
  const usedBytes = Array.from({ length: 3 }, () => {
    const sums = new PartialSums({ state: state as RoundState, groups: undefined, evaluationWidth: 1 });
    const message = { ...GRADIENT, level: 0, index: 0, bucket: 0, fingerprint, lossSum: 1 };
    const sum = sums.check(round, message, body, 'fast');
    if ('refusal' in sum) throw new Error(sum.refusal);
    sum.keep(1);
    sums.freeAll();
    return memory.usedBytes;
  });
  expect(usedBytes).toEqual(Array(3).fill(usedBytes[0]));
});
