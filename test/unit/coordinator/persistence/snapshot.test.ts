// A training state restored from the tensors of a snapshot.
import { expect, it } from 'vitest';
import { restoreSnapshot, snapshotOf } from '../../../../coordinator/persistence/snapshot.ts';
import { TrainingState } from '../../../../coordinator/training/training-state.ts';
import { instantiateKernels } from '../../../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../../../src/kernels/load-kernels.ts';
import { Memory } from '../../../../src/memory.ts';
import { optimizerSchema } from '../../../../src/optimizer/registry.ts';
import { flatModel } from '../../../helpers/flat-model.ts';

const MODEL = flatModel(
  [
    { name: '0.weight', role: 'weight', length: 2 },
    { name: '3.body.0.weight', role: 'weight', length: 3 },
    { name: '3.body.3.weight', role: 'weight', length: 4 },
  ],
  [9],
);

async function stateOf(values: readonly number[]): Promise<TrainingState> {
  const memory = new Memory();
  const kernelModule = await loadKernelModule();
  return new TrainingState({
    kernels: await instantiateKernels(kernelModule, memory.wasm),
    memory,
    model: MODEL,
    config: { optimizer: optimizerSchema.parse({}), clip: {}, ema: undefined },
    initialize: (address) => memory.f32(address, MODEL.numParameters).set(values),
  });
}

const VALUES = [1, 2, 3, 4, 5, 6, 7, 8, 9];

it('a snapshot whose modules have the numbers of an earlier version is restored by their order', async () => {
  const earlier: Record<string, string> = {
    '3.body.0.weight': '2.body.0.weight',
    '3.body.3.weight': '2.body.2.weight',
  };
  const tensors = snapshotOf(await stateOf(VALUES)).map(
    ({ name, shape, values }) => [earlier[name] ?? name, { shape, values }] as const,
  );
  const state = await stateOf(VALUES.map(() => 0));
  restoreSnapshot(state, new Map(tensors), { step: 1, path: 'a.safetensors' });
  expect([...state.memory.f32(state.parameters, MODEL.numParameters)]).toEqual(VALUES);
  const [, [name, tensor]] = tensors as [unknown, (typeof tensors)[number]];
  const stray = new Map([...tensors.slice(0, 1), ...tensors.slice(2), [`${name}.more`, tensor] as const]);
  expect(() => restoreSnapshot(state, stray, { step: 1, path: 'a.safetensors' })).toThrow(
    expect.objectContaining({
      code: 'E_CHECKPOINT_MISMATCH',
      message: 'a.safetensors: "2.body.0.weight.more" is not a tensor of this run',
    }),
  );
});
