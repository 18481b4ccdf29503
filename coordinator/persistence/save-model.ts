// The trained model as files: weights that others read, and beside them what it takes to use them.
import path from 'node:path';
import type { Config } from '../../src/config/schema.ts';
import type { LoadedData } from '../../src/data/load.ts';
import { DESCRIPTION_FILE, encodeDescription, WEIGHTS_FILE } from '../../src/predict/model-files.ts';
import { encodeSafetensors } from '../../src/safetensors.ts';
import { writeResultFile } from '../output/result-file.ts';
import { describeSaved } from '../training/run-descriptions.ts';
import type { TrainingState } from '../training/training-state.ts';

/**
 * Writes `model.safetensors` (PyTorch's layout and names of a Sequential) and `config.json` (layers, fitted
 * transforms, names of features, targets and classes) into `directory`.
 * @throws LockstepError (exit 4) if the disk refuses one of them.
 */
export async function saveModel(
  directory: string,
  {
    config,
    data,
    state,
  }: { readonly config: Config; readonly data: LoadedData; readonly state: TrainingState },
): Promise<void> {
  const { model, memory, parameters } = state;
  const weightsSha256 = state.weightsSha256();
  const tensors = model.tensors.map(({ name, shape, offset, length }) => ({
    name,
    shape,
    values: memory.f32(parameters + 4 * offset, length),
  }));
  await writeResultFile(path.join(directory, WEIGHTS_FILE), encodeSafetensors(tensors, { weightsSha256 }));
  const description = encodeDescription(describeSaved({ config, data, model }, weightsSha256));
  await writeResultFile(path.join(directory, DESCRIPTION_FILE), description);
}
