// A training state as named tensors, the parameters under the names of the saved model:
// what a checkpoint holds.
import { LockstepError, quoteValue } from '../../src/errors.ts';
import { formatShape } from '../../src/shape.ts';
import { ModuleNumbers, translateName } from '../../src/model/tensor-names.ts';
import { encodeSafetensors } from '../../src/safetensors.ts';
import type { NamedTensor, TensorSource } from '../../src/safetensors.ts';
import type { StateVectors, TrainingState } from '../training/training-state.ts';

/** A tensor of a snapshot: its name, shape and place in memory. */
interface TensorPlace {
  readonly name: string;
  readonly shape: readonly number[];
  readonly address: number;
  readonly length: number;
}

/** The current weights as a file: safetensors with the layout and names of a PyTorch Sequential. */
export function encodeWeights(
  { memory, model, parameters }: TrainingState,
  weightsSha256: string,
): Uint8Array {
  const tensors = model.tensors.map(({ name, shape, offset, length }) => ({
    name,
    shape,
    values: memory.f32(parameters + 4 * offset, length),
  }));
  return encodeSafetensors(tensors, { weightsSha256 });
}

/** Views of everything that steps change, between two steps: to be copied before the next one. */
export function snapshotOf(state: TrainingState): TensorSource[] {
  return layoutOf(state, state.vectors).map(({ name, shape, address, length }) => ({
    name,
    shape,
    values: state.memory.f32(address, length),
  }));
}

/**
 * Puts the state back to where the snapshot was taken, after `step` steps.
 * @throws LockstepError (exit 4) if the tensors are not those of this model and optimizer; the
 * state is then as before.
 */
export function restoreSnapshot(
  state: TrainingState,
  tensors: ReadonlyMap<string, NamedTensor>,
  { step, path }: { readonly step: number; readonly path: string },
): void {
  const hasBest = tensors.has(BEST);
  const layout = layoutOf(state, { ...state.vectors, best: hasBest ? 0 : undefined });
  const own = new ModuleNumbers(layout.map(({ name }) => name));
  const theirs = new ModuleNumbers(tensors.keys());
  const savedName = (name: string): string => translateName(name, own, theirs);
  const known = new Set(layout.map(({ name }) => savedName(name)));
  const unknown = [...tensors.keys()].find((name) => !known.has(name));
  if (unknown !== undefined) throw unfit(path, `${quoteValue(unknown)} is not a tensor of this run`);
  for (const { name, shape } of layout) {
    const found = tensors.get(savedName(name));
    if (!found) throw unfit(path, `${name} is missing`);
    if (found.shape.join() !== shape.join()) {
      throw unfit(path, `${name} is ${formatShape(found.shape)}, the model's ${formatShape(shape)}`);
    }
  }
  state.resumeAfter(step, hasBest, (vectors) => {
    for (const { name, address, length } of layoutOf(state, vectors)) {
      state.memory.f32(address, length).set((tensors.get(savedName(name)) as NamedTensor).values);
    }
  });
}

const BEST = 'best';

function layoutOf(state: TrainingState, vectors: StateVectors): TensorPlace[] {
  const { tensors, numParameters } = state.model;
  const parameters = tensors.map(({ name, shape, offset, length }) => ({
    name,
    shape,
    address: vectors.parameters + 4 * offset,
    length,
  }));
  const flat = (name: string, address: number | undefined): TensorPlace[] =>
    address === undefined ? [] : [{ name, shape: [numParameters], address, length: numParameters }];
  return [
    ...parameters,
    ...[...vectors.optimizer].flatMap(([name, address]) => flat(`optimizer.${name}`, address)),
    ...flat('average', vectors.average),
    ...flat(BEST, vectors.best),
  ];
}

function unfit(path: string, message: string): LockstepError {
  return new LockstepError({
    category: 'checkpoint',
    code: 'E_CHECKPOINT_MISMATCH',
    message: `${path}: ${message}`,
  });
}
