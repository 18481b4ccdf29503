// The proof that a worker must give before it may join covers everything that it can be asked to
// compute: a kind that is added to a registry and forgotten there would be trusted unproven.
import { describe, expect, it } from 'vitest';
import { KNOWN_ANSWER, KNOWN_CASES, knownAnswer } from '../../../src/known-answer.ts';
import { loadKernelModule } from '../../../src/kernels/load-kernels.ts';
import { activationSchema } from '../../../src/layers/activation.ts';
import { ACTIVATIONS } from '../../../src/layers/activation.ts';
import { layerSchema, type LayerInput } from '../../../src/layers/registry.ts';
import { lossSchema, resolveLoss } from '../../../src/losses/registry.ts';

/** The layers, with those inside them. */
function withInner(layers: readonly LayerInput[]): LayerInput[] {
  return layers.flatMap((layer) =>
    layer.kind === 'residual'
      ? [layer, ...withInner(layer.layers), ...withInner(layer.shortcut ?? [])]
      : [layer],
  );
}

/** The activation that a layer applies. */
function functionOf(layer: LayerInput): string {
  if (layer.kind === 'activation') return layer.function;
  return ('activation' in layer && layer.activation) || 'linear';
}

const layers = withInner(KNOWN_CASES.flatMap((known) => known.layers));

function absent(found: readonly string[], needed: readonly string[]): string[] {
  return needed.filter((name) => !found.includes(name));
}

describe('the known answer', () => {
  it('the known answer covers every kind of layer', () => {
    const kinds = layerSchema.options.map(({ shape }) => shape.kind.value);
    expect(kinds).toContain('dense');
    expect(
      absent(
        layers.map(({ kind }) => kind),
        kinds,
      ),
    ).toEqual([]);
  });

  it('the known answer covers every activation', () => {
    const functions = activationSchema.shape.function.options;
    expect(functions).toContain('softmax');
    expect(absent(layers.map(functionOf), [...ACTIVATIONS, ...functions])).toEqual([]);
  });

  it('the known answer covers every loss', () => {
    const kinds = lossSchema.options.map(({ shape }) => shape.kind.value);
    expect(kinds).toContain('mse');
    const found = KNOWN_CASES.map(({ loss }) => resolveLoss(loss).kind);
    expect(absent(found, kinds)).toEqual([]);
  });

  it('the known answer is the same each time, and differs for other kernels', async () => {
    const [strict, fused] = await Promise.all([loadKernelModule('strict'), loadKernelModule('fused')]);
    const answer = await knownAnswer(strict);
    expect(await knownAnswer(strict)).toBe(answer);
    expect(answer).toBe(KNOWN_ANSWER);
    expect(await knownAnswer(fused)).not.toBe(answer);
  });
});
