// The trained model as files: weights that others read, and beside them what it takes to use them.
import path from 'node:path';
import type { Config } from '../src/config/schema.ts';
import { MISSING_TOKENS } from '../src/data/cell.ts';
import type { LoadedData } from '../src/data/load.ts';
import { encodeDescription, type ModelDescription } from '../src/predict/model-files.ts';
import { DESCRIPTION_FILE, WEIGHTS_FILE } from '../src/predict/model-files.ts';
import type { Model } from '../src/model/model.ts';
import { encodeSafetensors } from '../src/safetensors.ts';
import { VERSION } from '../src/version.ts';
import { writeResultFile } from './output/result-file.ts';
import type { TrainingState } from './training-state.ts';

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

/** What a description is made from. */
interface SavedParts {
  readonly config: Config;
  readonly data: LoadedData;
  readonly model: Model;
}

/** What `config.json` says of a model with weights of this hash. */
export function describeSaved({ config, data, model }: SavedParts, weightsSha256: string): ModelDescription {
  return {
    lockstep: VERSION,
    name: config.name,
    weightsSha256,
    loss: config.loss,
    numerics: config.numerics,
    inputShape: model.inputShape,
    layers: config.model.layers,
    featureNames: data.featureNames,
    targetNames: data.targetNames,
    classNames: data.classNames,
    classWeights: data.classWeights,
    transforms: data.transforms,
    table: tableFormat(config),
  };
}

function tableFormat({ data }: Config): ModelDescription['table'] {
  const { delimiter, decimal, thousands, header, missing, missingTokens = [...MISSING_TOKENS] } = data;
  return { delimiter, decimal, thousands, header, missing, missingTokens };
}
