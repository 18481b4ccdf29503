// What a run tells others of itself: workers in `welcome`, later commands in `model/config.json`
// and `config.yaml`. All of it is put together before the run starts, and read by what will read
// it: a model that no worker can be told of, or results that no later command can open, are
// refused while nothing is lost.
import { formatConfigYaml, MAX_CONFIG_BYTES, parseConfigText } from '../../src/config/config-text.ts';
import { validateConfig } from '../../src/config/validate.ts';
import type { Config } from '../../src/config/schema.ts';
import { MISSING_TOKENS } from '../../src/data/table/format.ts';
import type { LoadedData } from '../../src/data/load.ts';
import { LockstepError } from '../../src/errors.ts';
import { MAX_FAN_IN } from '../../src/limits.ts';
import type { LayerSpec } from '../../src/layers/registry.ts';
import type { Model } from '../../src/model/model.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import type { WelcomeMessage } from '../../src/protocol/message-types.ts';
import { parseCoordinatorMessage } from '../../src/protocol/messages.ts';
import { ProtocolError } from '../../src/protocol/protocol-error.ts';
import { encodeHeader, LENGTH_BYTES, MAX_HEADER_BYTES } from '../../src/safetensors.ts';
import { encodeDescription, parseDescription } from '../../src/predict/model-files.ts';
import type { ModelDescription } from '../../src/predict/model-files.ts';
import { VERSION } from '../../src/version.ts';

/** The fields of `welcome` that are the same for every worker. */
export type CommonWelcome = Omit<WelcomeMessage, 'worker' | 'nonce' | 'sharedMemory' | 'fanIn'>;

/** A run whose data are loaded. */
interface Run {
  readonly config: Config;
  readonly data: LoadedData;
  readonly model: Model;
}

/** The welcome of the run that is called `run` on the wire. */
export function welcomeOf(run: string, { config, data, model }: Run): CommonWelcome {
  const { batchSize, loss, numerics, seed, shards, wire } = config;
  const { file, layout, sha256: datasetSha256 } = data.dataset;
  const isStreamed = file ? true : undefined;
  const { layers, smallBuckets } = model.spec;
  const { groups } = wire;
  const cut = { batchSize, shards, groups, smallBuckets };
  return { type: 'welcome', run, layers, seed, loss, ...cut, numerics, layout, isStreamed, datasetSha256 };
}

/** The contents of `model/config.json` for a model whose weights have this hash. */
export function describeSaved({ config, data, model }: Run, weightsSha256: string): ModelDescription {
  return {
    lockstep: VERSION,
    name: config.name,
    weightsSha256,
    loss: config.loss,
    numerics: config.numerics,
    inputShape: model.inputShape,
    layers: [...model.spec.layers],
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

/** @throws LockstepError (exit 2) for a run with a message or a file that its readers would refuse. */
export function requireLimits(run: Run): void {
  requireWelcome(run);
  requireWeightsHeader(run);
  requireDescription(run);
  requireConfigFile(run);
}

const FEWER_LAYERS = 'use fewer layers; those inside residual blocks count too';

function requireWelcome(run: Run): void {
  const welcome = welcomeOf(`${run.config.name}-00000000`, run);
  try {
    const most = 2 ** 31 - 1;
    const sharedMemory = { pid: most, weights: most, results: most, sha256: NO_HASH };
    const own = { worker: Number.MAX_SAFE_INTEGER, nonce: '0'.repeat(16), sharedMemory, fanIn: MAX_FAN_IN };
    const data = encodeMessage({ ...welcome, ...own });
    parseCoordinatorMessage(data);
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof ProtocolError)) throw error;
    const layers = `${count(countLayers(run.config.model.layers))} layers`;
    throw tooLarge(
      `the model has ${layers}, too many to describe to a worker: ${error.message}`,
      FEWER_LAYERS,
    );
  }
}

/** Those inside residual blocks included. */
function countLayers(layers: readonly LayerSpec[]): number {
  const inside = layers.map((layer) =>
    layer.kind === 'residual' ? countLayers(layer.layers) + countLayers(layer.shortcut ?? []) : 0,
  );
  return inside.reduce((sum, number) => sum + number, layers.length);
}

function requireWeightsHeader({ model }: Run): void {
  const length = encodeHeader(model.tensors, { weightsSha256: NO_HASH }).byteLength - LENGTH_BYTES;
  if (length <= MAX_HEADER_BYTES) return;
  const what = `the names of the model's ${count(model.tensors.length)} tensors take ${count(length)} bytes`;
  throw tooLarge(`${what}; at most ${count(MAX_HEADER_BYTES)} are read from a file of weights`, FEWER_LAYERS);
}

function requireDescription(run: Run): void {
  parseDescription(encodeDescription(describeSaved(run, NO_HASH)), 'model/config.json');
}

function requireConfigFile({ config }: Run): void {
  const text = formatConfigYaml(config);
  const length = Buffer.byteLength(text);
  if (length > MAX_CONFIG_BYTES) {
    const message = `the config with all its defaults has ${count(length)} bytes; a config may have ${count(MAX_CONFIG_BYTES)}`;
    throw tooLarge(message, 'move long lists from the config to the data');
  }
  const validation = validateConfig(parseConfigText(text, 'config.yaml').value);
  if (!('findings' in validation)) return;
  const message = `the config changes when it is read back from config.yaml: ${validation.findings[0]?.message ?? ''}`;
  throw new LockstepError({ category: 'usage', code: 'E_CONFIG_INVALID', message });
}

const NO_HASH = '0'.repeat(64);

function count(value: number): string {
  return value.toLocaleString('en-US');
}

function tooLarge(message: string, help: string): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_TOO_LARGE', message, help });
}
