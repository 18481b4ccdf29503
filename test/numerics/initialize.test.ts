// The weights that a run starts from: each initializer by its formula, and weight files, both valid and
// invalid.
import { beforeAll, describe, expect, it } from 'vitest';
import { drawWeights, loadWeights } from '../../src/model/initialize.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { Model } from '../../src/model/model.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { INITIALIZERS } from '../../src/layers/initializer.ts';
import type { Initializer } from '../../src/layers/initializer.ts';
import { PURPOSE } from '../../src/random.ts';
import type { SafetensorsFile } from '../../src/safetensors.ts';
import { double, single } from '../helpers/twins/arithmetic.ts';
import { createEngineRoom, denseLayers, modelOf } from '../helpers/twins/engines.ts';
import type { EngineRoom } from '../helpers/twins/engines.ts';
import { normalElement, uniformElement } from '../helpers/twins/random.ts';

let room: EngineRoom;
beforeAll(async () => {
  room = await createEngineRoom();
});

function draw(model: Model, seed: number): Float32Array {
  const { kernels, memory } = room;
  const address = memory.allocate(4 * model.numParameters, 'weights');
  memory.f32(address, model.numParameters).fill(Number.NaN);
  drawWeights(kernels, memory, model, seed, address);
  return memory.f32(address, model.numParameters).slice();
}

/** Gain^2 / mean fan of He et al. (fan-in, gain^2 2) and Glorot and Bengio (mean of both fans, gain 1). */
const VARIANCE: Record<Initializer, (inputs: number, outputs: number) => number> = {
  heUniform: (inputs) => 2 / inputs,
  heNormal: (inputs) => 2 / inputs,
  glorotUniform: (inputs, outputs) => 2 / (inputs + outputs),
  glorotNormal: (inputs, outputs) => 2 / (inputs + outputs),
  zeros: () => 0,
};

describe('drawWeights', () => {
  it.each(INITIALIZERS)(
    'drawWeights draws %s by its formula from one stream per tensor, and sets biases to zero',
    (initializer) => {
      const spec = { kind: 'dense' as const, activation: 'linear' as const, bias: true, initializer };
      const model = resolveModel(
        {
          layers: [
            { ...spec, units: 9 },
            { ...spec, units: 6 },
          ],
        },
        [7],
      );
      const weights = draw(model, 12);
      denseLayers(model).forEach(({ inputs, outputs, weight, bias }) => {
        const stream = model.tensors.indexOf(weight);
        const variance = VARIANCE[initializer](inputs, outputs);
        const key = { seed: 12, purpose: PURPOSE.init, stream };
        for (let i = 0; i < weight.length; i++) {
          const actual = weights[weight.offset + i] as number;
          if (initializer.endsWith('Uniform')) {
            expect(actual).toBe(uniformElement(single, i, Math.sqrt(3 * variance), key));
          } else {
            const expected = normalElement(double, i, Math.fround(Math.sqrt(variance)), key);
            expect(Math.abs(actual - expected)).toBeLessThanOrEqual(
              Math.abs(expected) * (2 ** -24 + 2 ** -40),
            );
          }
        }
        const biases = weights.subarray(bias?.offset, (bias?.offset as number) + outputs);
        expect(biases.every((value) => Object.is(value, 0))).toBe(true);
      });
    },
  );

  it('drawWeights draws the same bits for the same seed and others for another', () => {
    const model = modelOf(5, [[4, 'relu', true]]);
    expect(draw(model, 3)).toEqual(draw(model, 3));
    expect(draw(model, 3)).not.toEqual(draw(model, 4));
  });
});

/** A file of tensors whose values count up from 1. */
function fileOf(shapes: Readonly<Record<string, readonly number[]>>): SafetensorsFile {
  let next = 1;
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => next++);
    return [name, { shape, values }] as const;
  });
  return { tensors: new Map(tensors), metadata: {} };
}

/** 2 -> 3 relu (no bias) -> 1: tensors `0.weight` [3, 2], `2.weight` [1, 3], `2.bias` [1]. */
const MODEL = modelOf(2, [
  [3, 'relu', false],
  [1, 'linear', true],
]);

/** 2 + (2 -> 3 relu -> 2), without biases. */
function residualModel(): Model {
  const layers: LayerInput[] = [
    { kind: 'dense', units: 3, activation: 'relu', bias: false },
    { kind: 'dense', units: 2, bias: false },
  ];
  return resolveModel({ layers: [layerSchema.parse({ kind: 'residual', layers })] }, [2]);
}

function load(file: SafetensorsFile, model = MODEL): number[] {
  const { kernels, memory } = room;
  const address = memory.allocate(4 * model.numParameters, 'weights');
  loadWeights(kernels, memory, model, file, 'w.safetensors', address);
  return [...memory.f32(address, model.numParameters)];
}

describe('loadWeights', () => {
  it('loadWeights takes modules in numerical order, whether activations count as modules or not', () => {
    const expected = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    expect(load(fileOf({ '0.weight': [3, 2], '2.weight': [1, 3], '2.bias': [1] }))).toEqual(expected);
    expect(load(fileOf({ '0.weight': [3, 2], '1.weight': [1, 3], '1.bias': [1] }))).toEqual(expected);
    expect(load(fileOf({ '9.weight': [3, 2], '10.weight': [1, 3], '10.bias': [1] }))).toEqual(expected);
    const { tensors, metadata } = fileOf({ '9.weight': [3, 2], '10.weight': [1, 3], '10.bias': [1] });
    expect(load({ tensors: new Map([...tensors].toReversed()), metadata })).toEqual(expected);
  });

  it('loadWeights takes the modules of a residual block in numerical order too', () => {
    const block = residualModel();
    const [first, second] = block.tensors.map(({ name }) => name);
    expect([first, second]).toEqual(['0.body.0.weight', '0.body.2.weight']);
    for (const [own, other] of [
      ['0.body.0.weight', '0.body.2.weight'],
      ['0.body.0.weight', '0.body.1.weight'],
      ['4.body.9.weight', '4.body.10.weight'],
    ] as const) {
      expect(load(fileOf({ [own]: [3, 2], [other]: [2, 3] }), block)).toEqual([
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
      ]);
    }
    const stray = fileOf({ '0.body.0.weight': [3, 2], '0.shortcut.0.weight': [2, 3] });
    expectRefused(stray, 'has no tensor "0.body.2.weight"', block);
  });

  it.each([
    [{ '0.weight': [3, 2] }, 'holds 1 modules, the model has 2 layers with weights'],
    [{ '0.weight': [3, 2], '2.weight': [1, 3] }, 'holds 2 tensors, the model has 3'],
    [{ '0.weight': [3, 2], '0.bias': [3], '2.weight': [1, 3] }, 'has no tensor "2.bias"'],
    [
      { '0.weight': [2, 3], '2.weight': [1, 3], '2.bias': [1] },
      '"0.weight" is [2, 3], the model needs [3, 2]',
    ],
    [{ '0.weight': [6], '2.weight': [1, 3], '2.bias': [1] }, '"0.weight" is [6], the model needs [3, 2]'],
    [
      { 'net.2.weight': [3, 2], 'net.10.weight': [1, 3], 'net.10.bias': [1] },
      '"net.2.weight" is not named <number>.<tensor>, such as 0.weight',
    ],
    [{ '0.weight': [3, 2], '2.weight': [1, 3], '2.running_mean': [3] }, 'has no tensor "2.bias"'],
  ] as [Record<string, number[]>, string][])(
    'loadWeights refuses tensors of shapes %j',
    (shapes, message) => {
      expectRefused(fileOf(shapes), message);
    },
  );

  it('loadWeights refuses values that are not finite', () => {
    const file = fileOf({ '0.weight': [3, 2], '2.weight': [1, 3], '2.bias': [1] });
    file.tensors.get('2.weight')?.values.fill(Number.NaN, 1, 2);
    expectRefused(file, '"2.weight" holds NaN or infinite values');
  });
});

function expectRefused(file: SafetensorsFile, message: string, model = MODEL): void {
  const tensors = model.tensors.map(({ name, shape }) => `${name} [${shape.join(', ')}]`);
  expect(() => load(file, model)).toThrow(
    expect.objectContaining({
      code: 'E_INIT_WEIGHTS',
      exitCode: 4,
      message: `w.safetensors: ${message}`,
      help: `the model has ${tensors.join(', ')}`,
    }),
  );
}
