// The weights that a run starts from: drawn by counter, or read from a file.
import { LockstepError, quoteValue } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';
import type { Model } from './model.ts';
import { ModuleNumbers, translateName } from './tensor-names.ts';
import { PURPOSE } from '../random.ts';
import type { SafetensorsFile } from '../safetensors.ts';

/**
 * Fills the flat vector at `address` with what each tensor starts from; draws are
 * keyed by the tensor's number.
 */
export function drawWeights(
  kernels: Kernels,
  memory: Memory,
  model: Model,
  seed: number,
  address: number,
): void {
  const block = memory.allocate(16, 'random numbers');
  model.tensors.forEach(({ initial, length, offset }, stream) => {
    const at = address + 4 * offset;
    if (initial.kind === 'constant') return void memory.f32(at, length).fill(initial.value);
    const fill = initial.kind === 'uniform' ? kernels.fillUniform : kernels.fillNormal;
    fill(at, length, initial.scale, seed, PURPOSE.init, stream, block);
  });
}

/**
 * Copies weights from a safetensors file into the flat vector at `address`. The k-th numbered
 * module of the file, or of a module in it, is the k-th of the model's that has tensors: files that
 * count activations as modules and files that do not both fit.
 * @throws LockstepError naming the first tensor that does not fit, or is not finite.
 */
export function loadWeights(
  kernels: Kernels,
  memory: Memory,
  model: Model,
  file: SafetensorsFile,
  path: string,
  address: number,
): void {
  const refuse = (message: string): LockstepError =>
    new LockstepError({
      category: 'checkpoint',
      code: 'E_INIT_WEIGHTS',
      message: `${path}: ${message}`,
      help: describeTensors(model),
    });
  const stranger = [...file.tensors.keys()].find((name) => !MODULE_TENSOR.test(name));
  if (stranger !== undefined)
    throw refuse(`${quoteValue(stranger)} is not named <number>.<tensor>, such as 0.weight`);
  const own = new ModuleNumbers(model.tensors.map(({ name }) => name));
  const theirs = new ModuleNumbers(file.tensors.keys());
  const [numOwn, numTheirs] = [own.in('').length, theirs.in('').length];
  if (numTheirs !== numOwn)
    throw refuse(`holds ${numTheirs} modules, the model has ${numOwn} layers with weights`);
  if (file.tensors.size !== model.tensors.length)
    throw refuse(`holds ${file.tensors.size} tensors, the model has ${model.tensors.length}`);
  for (const { name: ownName, shape, offset, length } of model.tensors) {
    const name = translateName(ownName, own, theirs);
    const tensor = file.tensors.get(name);
    if (!tensor) throw refuse(`has no tensor "${name}"`);
    if (tensor.shape.join() !== shape.join()) {
      throw refuse(`"${name}" is [${tensor.shape.join(', ')}], the model needs [${shape.join(', ')}]`);
    }
    const at = address + 4 * offset;
    memory.f32(at, length).set(tensor.values);
    if (!kernels.allFinite(at, length)) throw refuse(`"${name}" holds NaN or infinite values`);
  }
}

/** Names as in a PyTorch Sequential. Others have no order of modules that could be trusted. */
const MODULE_TENSOR = /^(0|[1-9]\d{0,14})\.\S+$/;

/** Tensors that an error lists. */
const MAX_LISTED = 50;

function describeTensors({ tensors }: Model): string {
  const listed = tensors.slice(0, MAX_LISTED).map(({ name, shape }) => `${name} [${shape.join(', ')}]`);
  const rest = tensors.length - listed.length;
  return `the model has ${listed.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}
