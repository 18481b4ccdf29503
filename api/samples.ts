// Samples in memory as a config has them: by their hashes. So a config stays what a config file can hold, and the one
// beside a run's results says what it was trained on.
import type { DataSource } from '../src/config/data-sources.ts';
import type { ConfigInput } from '../src/config/schema.ts';
import { takeSamples, type ArraySet, type ArraySets, type Samples } from '../src/data/array/arrays.ts';

type DataInput = ConfigInput['data'];
type Split = 'train' | 'validation' | 'test';

/** The `data` of a config; samples may stand where a file would. */
export type TrainData = Omit<DataInput, Split> & {
  readonly [Key in Split]?: DataSource | Samples | undefined;
};

/** A config as a program writes it: the fields of a config file, or samples in memory as its `data`. */
export type TrainConfig = Omit<ConfigInput, 'data'> & { readonly data: TrainData };

/**
 * Checks the samples of a config, and replaces them by their hashes.
 * @throws LockstepError if they are invalid.
 */
export function takeArrays(input: TrainConfig): { config: ConfigInput; arrays: ArraySets } {
  // A program in JavaScript may pass in anything, which the checks of the config will report.
  if (!isMapping(input) || !isMapping(input.data)) return { config: input as ConfigInput, arrays: new Map() };
  const { data, ...rest } = input;
  const sets = new Map<string, ArraySet>();
  const take = (source: DataSource | Samples, name: string): DataSource => {
    if (!isSamples(source)) return source;
    const set = takeSamples(source, name);
    if (!sets.has(set.sha256)) sets.set(set.sha256, set);
    return { arrays: set.sha256 };
  };
  const { train, validation, test, ...fields } = data;
  const sources = {
    ...(train && { train: take(train, 'data.train') }),
    ...(validation && { validation: take(validation, 'data.validation') }),
    ...(test && { test: take(test, 'data.test') }),
  };
  const first = train && isSamples(train) ? [...sets.values()][0] : undefined;
  const defaults = first && defaultsFor(first);
  return { config: { ...rest, data: { ...defaults, ...fields, ...sources } }, arrays: sets };
}

/** True for samples, even invalid ones. */
export function isSamples(source: unknown): source is Samples {
  return isMapping(source) && ('features' in source || 'targets' in source);
}

function isMapping(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Defaults for what a table says in its header; values of images or sequences, which belong together, keep their scale. */
function defaultsFor({ features, shape, targetWidth, sampleWeights }: ArraySet): Partial<DataInput> {
  const targets = Array.from({ length: targetWidth }, (_, at) => `target${at + 1}`);
  return {
    target: targetWidth === 1 ? 'target' : targets,
    ...(sampleWeights && { weights: 'weight' }),
    standardize: shape.length === 1 && !(features instanceof Uint8Array),
  };
}
