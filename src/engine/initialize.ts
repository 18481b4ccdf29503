// The weights a run starts from: drawn by counter, or read from a file.
import { LockstepError, quoteValue } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';
import type { DenseLayer, Model } from '../model/model.ts';
import { PURPOSE } from '../random.ts';
import type { SafetensorsFile } from '../safetensors.ts';

/**
 * Fills the flat vector at `address`: weights by each layer's initialiser, biases with zeros.
 * Uniform limits and normal deviations: He et al., 2015 (fan-in, gain sqrt 2) and Glorot and Bengio, 2010.
 */
export function drawWeights(
  kernels: Kernels,
  memory: Memory,
  model: Model,
  seed: number,
  address: number,
): void {
  const block = memory.allocate(16, 'random numbers');
  memory.f32(address, model.numParameters).fill(0);
  model.layers.forEach((layer, stream) => {
    const at = address + 4 * layer.weight.offset;
    const { kind, scale } = distribution(layer);
    if (kind === 'zeros') return;
    const fill = kind === 'uniform' ? kernels.fillUniform : kernels.fillNormal;
    fill(at, layer.weight.length, scale, seed, PURPOSE.init, stream, block);
  });
}

function distribution(layer: DenseLayer): { kind: 'uniform' | 'normal' | 'zeros'; scale: number } {
  const { inputs, outputs } = layer;
  switch (layer.initializer) {
    case 'heUniform':
      return { kind: 'uniform', scale: Math.sqrt(6 / inputs) };
    case 'heNormal':
      return { kind: 'normal', scale: Math.sqrt(2 / inputs) };
    case 'glorotUniform':
      return { kind: 'uniform', scale: Math.sqrt(6 / (inputs + outputs)) };
    case 'glorotNormal':
      return { kind: 'normal', scale: Math.sqrt(2 / (inputs + outputs)) };
    case 'zeros':
      return { kind: 'zeros', scale: 0 };
    default:
      return layer.initializer satisfies never;
  }
}

/**
 * Copies weights from a safetensors file into the flat vector at `address`. The k-th numbered module of
 * the file is the k-th layer, so files that count activations as modules and files that do not both fit.
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
      help: `the model has ${model.tensors.map((tensor) => `${tensor.name} [${tensor.shape.join(', ')}]`).join(', ')}`,
    });
  const stranger = [...file.tensors.keys()].find((name) => !MODULE_TENSOR.test(name));
  if (stranger !== undefined)
    throw refuse(`${quoteValue(stranger)} is not named <number>.weight or <number>.bias`);
  const names = moduleNames(file);
  if (names.length !== model.layers.length) {
    throw refuse(`holds ${names.length} modules, the model has ${model.layers.length} layers`);
  }
  const numExpected = model.tensors.length;
  if (file.tensors.size !== numExpected)
    throw refuse(`holds ${file.tensors.size} tensors, the model has ${numExpected}`);
  model.layers.forEach((layer, index) => {
    for (const part of ['weight', 'bias'] as const) {
      const expected = layer[part];
      if (!expected) continue;
      const name = `${names[index] as string}.${part}`;
      const tensor = file.tensors.get(name);
      if (!tensor) throw refuse(`has no tensor "${name}"`);
      if (tensor.shape.join() !== expected.shape.join()) {
        throw refuse(
          `"${name}" is [${tensor.shape.join(', ')}], layer ${index} needs [${expected.shape.join(', ')}]`,
        );
      }
      const at = address + 4 * expected.offset;
      memory.f32(at, expected.length).set(tensor.values);
      if (!kernels.allFinite(at, expected.length)) throw refuse(`"${name}" holds NaN or infinite values`);
    }
  });
}

/** Names as in a PyTorch Sequential. Others have no order of modules that could be trusted. */
const MODULE_TENSOR = /^\d+\.(weight|bias)$/;

/** The distinct prefixes of `<number>.weight` and `<number>.bias`, in numerical order. */
function moduleNames(file: SafetensorsFile): string[] {
  const names = new Set<string>();
  for (const name of file.tensors.keys()) names.add(name.replace(/\.(weight|bias)$/, ''));
  return [...names].sort((a, b) => Number(a) - Number(b));
}
