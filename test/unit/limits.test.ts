// Runs at the limits of messages and files: a run beyond them is refused while it is
// prepared, one within them works.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { snapshotOf } from '../../coordinator/persistence/snapshot.ts';
import { initialState } from '../../coordinator/training/prepare.ts';
import { FIRST_PROGRESS } from '../../coordinator/training/training-progress.ts';
import type { TrainConfig } from '../../api/train.ts';
import {
  encodeCheckpoint,
  MAX_CHECKPOINT_HEADER_BYTES,
  readCheckpoint,
} from '../../src/checkpoint/checkpoint-file.ts';
import { MAX_CONFIG_BYTES } from '../../src/config/config-text.ts';
import { MAX_BATCH_SIZE, MAX_EPOCHS, MAX_LAYERS, MAX_SHARDS } from '../../src/limits.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import { encodeDescription, type ModelDescription } from '../../src/predict/model-files.ts';
import { readModel } from '../../src/predict/load-model.ts';
import { loadModel } from '../../src/predict/load-model.ts';
import { MAX_BODY_BYTES } from '../../src/protocol/limits.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { parseCoordinatorMessage } from '../../src/protocol/messages.ts';
import { MAX_HEADER_BYTES } from '../../src/safetensors.ts';
import { errorText, saveRun, type SavedRun } from '../helpers/saved-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const OUTPUT: LayerInput = { kind: 'dense', units: 1 };

/** Saves a run of four samples of three numbers through `layers`; `rest` sets other fields. */
function save(layers: readonly LayerInput[], rest: Partial<TrainConfig> = {}): Promise<SavedRun> {
  const samples = { features: [...Array(4).keys()].map((row) => [row, row % 3, 1]), targets: [1, 2, 3, 4] };
  return saveRun(
    {},
    {
      data: { train: samples, split: { validation: 0, test: 0 } },
      model: { layers: [...layers] },
      loss: 'mse',
      batchSize: 4,
      ...rest,
    },
  );
}

function refusal(layers: readonly LayerInput[], rest: Partial<TrainConfig> = {}): Promise<string> {
  return errorText('', () => save(layers, rest));
}

/** `count` residual blocks of `size` layers that keep three numbers, and the output. */
function blocks(count: number, size: number): LayerInput[] {
  const layers = Array.from({ length: size }, (): LayerInput => ({ kind: 'dense', units: 3 }));
  return [...Array.from({ length: count }, (): LayerInput => ({ kind: 'residual', layers })), OUTPUT];
}

/** Residual blocks inside each other. */
function nest(depth: number, innermost: LayerInput): LayerInput {
  return depth === 0 ? innermost : { kind: 'residual', layers: [nest(depth - 1, innermost)] };
}

const TOO_MANY = 'too many to describe to a worker';
const FEWER = '\n  help: use fewer layers; those inside residual blocks count too';

describe('a model beyond the limits', () => {
  it.each([
    [2, '2,971', 'message header has more than 16384 values'],
    [6, '6,931', 'welcome: the header has 292574 bytes'],
    [9, '9,901', 'welcome: the header has 426224 bytes'],
  ])(
    'a model of 990 residual blocks of %i layers is refused while it is prepared',
    async (size, layers, reason) => {
      expect(await refusal(blocks(990, size))).toMatch(
        new RegExp(`^error\\[E_TOO_LARGE\\]: the model has ${layers} layers, ${TOO_MANY}: ${reason}`),
      );
    },
  );

  it('a model that fits into a message is refused if the header of its weights would be too long', async () => {
    const inner = Array.from({ length: 975 }, (): LayerInput => ({
      kind: 'gru',
      units: 1,
      returnSequences: true,
    }));
    const layers: LayerInput[] = [
      { kind: 'reshape', shape: [1, 3] },
      { kind: 'dense', units: 1 },
      nest(13, { kind: 'residual', layers: inner }),
      nest(13, { kind: 'residual', layers: inner }),
      { kind: 'flatten' },
    ];
    expect(await refusal(layers)).toBe(
      "error[E_TOO_LARGE]: the names of the model's 7,802 tensors take 1,354,720 bytes; at most 1,048,576 are read " +
        `from a file of weights${FEWER}`,
    );
  });

  it('a config that its run could not read again is refused', async () => {
    const tags = Array.from({ length: 20 }, () => 'x'.repeat(60_000));
    expect(await refusal([OUTPUT], { tracking: { wandb: { project: 'p', tags } } })).toMatch(
      /^error\[E_TOO_LARGE\]: the config with all its defaults has 1,\d{3},\d{3} bytes; a config may have 1,048,576\n/,
    );
  });

  it('a model of more parameters than any memory holds is refused before anything is allocated', () => {
    const dense = layerSchema.parse({ kind: 'dense', units: 1_048_576 });
    const layers = Array.from({ length: 20 }, () => dense);
    expect(() => resolveModel({ layers }, [2])).toThrow(TOO_LARGE);
    const wide = layerSchema.parse({ kind: 'conv2d', filters: 65_536, kernelSize: 4096, padding: 4096 });
    expect(() => resolveModel({ layers: Array.from({ length: 1000 }, () => wide) }, [1, 28, 28])).toThrow(
      expect.objectContaining({ code: 'E_TOO_LARGE' }),
    );
  });
});

/** 20 layers of 1,048,576 units, on two numbers. */
const TOO_LARGE = expect.objectContaining({
  code: 'E_TOO_LARGE',
  exitCode: 2,
  message: 'the model has 20,890,743,996,416 parameters; WebAssembly can address 1,073,741,824',
  help: 'use fewer units; the largest tensor is 1.weight, 1048576x1048576',
}) as Error;

describe('the files of a trained model', () => {
  it('the files of a model are refused if they describe too many parameters, or are longer than any that is written', async () => {
    const run = await save([OUTPUT]);
    const file = path.join(run.directory, 'model/config.json');
    const description = JSON.parse(fs.readFileSync(file, 'utf8')) as ModelDescription;
    const hidden = Array.from({ length: 20 }, () => ({ kind: 'dense', units: 1_048_576 }));
    fs.writeFileSync(file, JSON.stringify({ ...description, layers: [...hidden, OUTPUT] }));
    expect(await errorText(run.cwd, () => loadModel(run.directory))).toBe(
      'error[E_MODEL_INVALID]: run/model/config.json: the model has 20,890,746,093,569 parameters; ' +
        'WebAssembly can address 1,073,741,824',
    );
    const layers = [{ kind: 'dense', units: 32_000 }, { kind: 'dense', units: 32_000 }, OUTPUT];
    fs.writeFileSync(file, JSON.stringify({ ...description, layers }));
    expect(await errorText(run.cwd, () => readModel(run.directory))).toBe(
      'error[E_MODEL_WEIGHTS]: run/model/model.safetensors: "0.weight" is 1x3; the model needs 32000x3',
    );
    fs.truncateSync(file, 64 * 2 ** 20 + 1);
    expect(await errorText(run.cwd, () => readModel(run.directory))).toBe(
      'error[E_MODEL_NOT_FOUND]: cannot read run/model/config.json: it has 67108865 bytes; at most 67108864 are read',
    );
    const classNames = Array.from({ length: 1100 }, () => 'x'.repeat(65_536));
    expect(() => encodeDescription({ ...description, classNames })).toThrow(
      expect.objectContaining({
        code: 'E_TOO_LARGE',
        message:
          'the names of columns, categories and classes make config.json larger than the 64.0 MiB that are read',
      }),
    );
  });
});

describe('a model at the limits', () => {
  it('the weights and checkpoints of a model at the limits can be read', async () => {
    const zeros: LayerInput = { kind: 'dense', units: 3, initializer: 'zeros' };
    const layers: LayerInput[] = Array.from({ length: MAX_LAYERS - 2 }, () => ({
      kind: 'residual',
      layers: [zeros],
    }));
    const run = await save([...layers, nest(14, { kind: 'layerNorm' }), OUTPUT]);
    const { model, weights } = await readModel(run.directory);
    expect(model.tensors.length).toBe(2 * (MAX_LAYERS - 2) + 4);
    const file = path.join(temporaryDirectory(), 'a.safetensors');
    const state = await initialState(run.prepared);
    const manifest = { progress: FIRST_PROGRESS, layers: run.prepared.config.model.layers };
    const checkpoint = encodeCheckpoint({ step: 1, isBest: true, tensors: snapshotOf(state), manifest });
    const handle = fs.openSync(file, 'w');
    for (const { bytes, position } of checkpoint.slices())
      fs.writeSync(handle, bytes, 0, bytes.length, position);
    fs.closeSync(handle);
    const { tensors } = await readCheckpoint(file);
    const [first] = model.tensors;
    expect(tensors.get(first?.name ?? '')?.values).toEqual(weights.subarray(0, first?.length));
  });

  it('a message holds the largest batch and task, and a checkpoint holds the largest number of epochs', () => {
    const bounds = Uint32Array.from(
      { length: MAX_SHARDS + 1 },
      (_, shard) => (MAX_BATCH_SIZE / MAX_SHARDS) * shard,
    );
    expect(4 * MAX_BATCH_SIZE).toBe(MAX_BODY_BYTES);
    const task = { firstShard: 0, numShards: MAX_SHARDS, bounds: [...bounds] };
    const key = { run: 'r', round: 1, task: 1, version: 1, step: 1, weightsFingerprint: '0'.repeat(16) };
    const data = encodeMessage({ type: 'train', ...key, ...task }, new Uint8Array(MAX_BODY_BYTES));
    expect(parseCoordinatorMessage(data).message).toMatchObject(task);

    const loss = -Math.PI * 1e-300;
    const history = Array.from({ length: 1000 }, () => ({
      epoch: MAX_EPOCHS,
      trainLoss: loss,
      validationLoss: loss,
    }));
    const headerOf = (manifest: unknown): number =>
      encodeCheckpoint({ step: 1, isBest: true, tensors: [], manifest }).byteLength;
    const perEpoch = (headerOf({ history }) - headerOf({ history: [] })) / history.length;
    // Besides the epochs, a header holds the names of tensors, and the config with
    // every quotation mark escaped.
    expect(MAX_EPOCHS * perEpoch + MAX_HEADER_BYTES + 2 * MAX_CONFIG_BYTES).toBeLessThan(
      MAX_CHECKPOINT_HEADER_BYTES,
    );
  });
});
