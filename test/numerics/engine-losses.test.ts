// The engine on sequences and on weighted samples: the same numbers as on the positions by themselves, and as
// without the samples of weight 0.
import { beforeAll, describe, expect, it } from 'vitest';
import { totalSampleWeight, type PackedDataset } from '../../src/data/dataset/packed-dataset.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { evaluationWidth } from '../../src/engine/samples.ts';
import type { LossInput } from '../../src/losses/registry.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { Model } from '../../src/model/model.ts';
import { createEngine, createEngineRoom, randomWeights, sumsOfTask } from '../helpers/twins/engines.ts';
import type { EngineRoom, NodeSum } from '../helpers/twins/engines.ts';
import { labelRanks } from '../helpers/twins/loss.ts';
import { packSamples, randomValues, randomWords } from '../helpers/twins/samples.ts';
import { expectSameBits } from './arena.ts';

const ROWS = 11;
const POSITIONS = 3;
const FEATURES = 5;
const CLASSES = 7;
const LAYERS = [
  { kind: 'dense' as const, units: 9, activation: 'relu' as const, bias: true },
  { kind: 'dense' as const, units: CLASSES, activation: 'linear' as const, bias: true },
];
const LOSSES: readonly LossInput[] = ['crossEntropy', { kind: 'crossEntropy', labelSmoothing: 0.1 }];

const features = randomValues(1, ROWS * POSITIONS * FEATURES);
const labels = randomWords(2, ROWS * POSITIONS).map((word) => word % CLASSES);
/** One weight per label; every third is ignored. */
const sampleWeights = Float32Array.from(labels, (label, i) => (i % 3 === 0 ? 0 : (label + 1) / 4));

let room: EngineRoom;
beforeAll(async () => {
  room = await createEngineRoom();
});

/** `positions` of each row in one row, or each in a row of its own. */
function samplesOf(positions: number, withWeights: boolean): PackedDataset {
  const dataset = packSamples({
    featureWidth: positions * FEATURES,
    features,
    targets: labels,
    numClasses: CLASSES,
    sampleWeights: withWeights ? sampleWeights : undefined,
  });
  const featureShape = positions === 1 ? [FEATURES] : [positions, FEATURES];
  return { ...dataset, layout: { ...dataset.layout, featureShape } };
}

interface Setting {
  readonly model: Model;
  readonly engine: Engine;
  readonly dataset: PackedDataset;
}

function settingOf(positions: number, loss: LossInput, withWeights: boolean): Setting {
  const dataset = samplesOf(positions, withWeights);
  const model = resolveModel({ layers: LAYERS }, dataset.layout.featureShape);
  const batchSize = dataset.layout.numRows;
  const options = { model, loss, dataset, weights: randomWeights(3, model), batchSize, shards: 4 };
  return { model, dataset, engine: createEngine(room, options) };
}

/** Shards of 3, 3, 3 and 2 rows, times `scale`. */
function taskOf(scale: number) {
  const bounds = Uint32Array.of(0, 3, 6, 9, ROWS).map((bound) => bound * scale);
  const indices = Uint32Array.from({ length: ROWS * scale }, (_, i) => i);
  return { numShards: 4, firstShard: 0, bounds, indices };
}

function trainOn({ model, engine }: Setting, scale: number): NodeSum {
  const [sum] = sumsOfTask(room, model, engine, taskOf(scale));
  return sum as NodeSum;
}

describe('a sequence of labels', () => {
  it.each([false, true])(
    'a sequence of labels has the same gradient as its positions as rows (with weights: %s)',
    (withWeights) => {
      for (const loss of LOSSES) {
        const sequence = trainOn(settingOf(POSITIONS, loss, withWeights), 1);
        const rows = trainOn(settingOf(1, loss, withWeights), POSITIONS);
        expectSameBits(sequence.gradient, rows.gradient, 'gradient');
        // A row's loss is the sum over its positions, so the losses are added in another order.
        expect(sequence.lossSum / rows.lossSum).toBeCloseTo(1, 13);
      }
    },
  );

  it('a sequence of labels is evaluated to the ranks of its labels and the predicted classes', () => {
    const setting = settingOf(POSITIONS, 'crossEntropy', true);
    const { outputs, lossSums } = setting.engine.evaluate(taskOf(1));
    const rows = settingOf(1, 'crossEntropy', true).engine.evaluate(taskOf(POSITIONS));
    const width = evaluationWidth(setting.model, setting.dataset.layout, 'crossEntropy');
    expect(width).toBe(2 * POSITIONS);
    const ranks = Float32Array.from(labelRanks(rows.outputs, labels, CLASSES));
    for (let row = 0; row < ROWS; row++) {
      const described = rowOf(outputs, row, width);
      expectSameBits(described.subarray(0, POSITIONS), rowOf(ranks, row, POSITIONS), 'ranks');
      const predicted = Array.from({ length: POSITIONS }, (_, position) => {
        const logits = [...rowOf(rows.outputs, row * POSITIONS + position, CLASSES)];
        return logits.indexOf(Math.max(...logits));
      });
      expect([...described.subarray(POSITIONS)]).toEqual(predicted);
    }
    lossSums.forEach((sum, shard) => expect(sum / (rows.lossSums[shard] as number)).toBeCloseTo(1, 13));
  });

  it('a sequence of labels is evaluated to ranks and the sum of its log losses where the loss is smoothed', () => {
    const smoothed = { kind: 'crossEntropy', labelSmoothing: 0.1 } as const;
    const setting = settingOf(POSITIONS, smoothed, true);
    const width = evaluationWidth(setting.model, setting.dataset.layout, smoothed);
    expect(width).toBe(2 * POSITIONS + 1);
    const { outputs } = setting.engine.evaluate(taskOf(1));
    const plain = settingOf(POSITIONS, 'crossEntropy', true).engine;
    const eachRow = {
      ...taskOf(1),
      numShards: ROWS,
      bounds: Uint32Array.from({ length: ROWS + 1 }, (_, i) => i),
    };
    const { lossSums, outputs: ranks } = plain.evaluate(eachRow);
    for (let row = 0; row < ROWS; row++) {
      const described = outputs.subarray(row * width, (row + 1) * width);
      const plainly = rowOf(ranks, row, 2 * POSITIONS);
      expectSameBits(described.subarray(0, -1), plainly, 'ranks and classes');
      expect(described.at(-1)).toBe(Math.fround(lossSums[row] as number));
    }
  });

  it('the loss of sequences is divided by the weights of their positions or by their number', () => {
    const indices = Uint32Array.of(4, 0);
    expect(totalSampleWeight(samplesOf(POSITIONS, false), indices)).toBe(2 * POSITIONS);
    const counted = [12, 13, 14, 0, 1, 2].reduce((sum, at) => sum + (sampleWeights[at] as number), 0);
    expect(totalSampleWeight(samplesOf(POSITIONS, true), indices)).toBe(counted);
  });
});

describe('rows of weight 0', () => {
  it.each(['mse', 'mae', 'huber', 'binaryCrossEntropy', 'crossEntropy'] as const)(
    'rows of weight 0 change neither the gradient nor the loss of %s',
    (loss) => {
      const isLabels = loss === 'crossEntropy';
      const targets = isLabels ? labels.subarray(0, ROWS) : randomValues(4, ROWS * CLASSES).map(Math.abs);
      const width = isLabels ? 1 : CLASSES;
      const pick = (kept: readonly number[], rowWeights?: Float32Array): NodeSum => {
        const dataset = packSamples({
          featureWidth: FEATURES,
          features: Float32Array.from(kept.flatMap((row) => [...rowOf(features, row, FEATURES)])),
          targets: (isLabels ? Uint32Array : Float32Array).from(
            kept.flatMap((row) => [...rowOf(targets, row, width)]),
          ),
          numClasses: isLabels ? CLASSES : 0,
          sampleWeights: rowWeights,
        });
        const model = resolveModel({ layers: LAYERS }, [FEATURES]);
        const options = { model, loss, dataset, weights: randomWeights(5, model), shards: 1 };
        const engine = createEngine(room, { ...options, batchSize: kept.length });
        const bounds = Uint32Array.of(0, kept.length);
        const task = { numShards: 1, firstShard: 0, bounds, indices: Uint32Array.from(kept, (_, i) => i) };
        return sumsOfTask(room, model, engine, task)[0] as NodeSum;
      };
      const all = Array.from({ length: ROWS }, (_, row) => row);
      const isKept = (row: number): boolean => row % 4 !== 1;
      const zeroed = pick(
        all,
        Float32Array.from(all, (row) => Number(isKept(row))),
      );
      const without = pick(all.filter(isKept));
      expect(zeroed.lossSum).toBe(without.lossSum);
      // A row of zeros can turn a sum of -0 into 0.
      const unsigned = ({ gradient }: NodeSum): number[] => Array.from(gradient, (value) => value + 0);
      expect(unsigned(zeroed)).toEqual(unsigned(without));
    },
  );
});

function rowOf<T extends Float32Array | Uint32Array>(values: T, row: number, width: number): T {
  return values.subarray(row * width, (row + 1) * width) as T;
}
