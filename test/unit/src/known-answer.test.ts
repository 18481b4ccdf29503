// What a worker must prove before it may join names all that it can be asked to compute: a kind that is added to a
// registry and forgotten there would be trusted unproven.
import { describe, expect, it } from 'vitest';
import { KNOWN_CASES, knownAnswer } from '../../../src/known-answer.ts';
import { loadKernelModule } from '../../../src/kernels/kernels.ts';
import { activationSchema } from '../../../src/layers/activation.ts';
import { ACTIVATIONS } from '../../../src/layers/activation.ts';
import { layerSchema, type LayerInput } from '../../../src/layers/registry.ts';
import { lossSchema, resolveLoss } from '../../../src/losses/registry.ts';

/** These layers and those inside them. */
function withInner(layers: readonly LayerInput[]): LayerInput[] {
  return layers.flatMap((layer) =>
    layer.kind === 'residual'
      ? [layer, ...withInner(layer.layers), ...withInner(layer.shortcut ?? [])]
      : [layer],
  );
}

/** What the layer applies to its values. */
function functionOf(layer: LayerInput): string {
  if (layer.kind === 'activation') return layer.function;
  return ('activation' in layer && layer.activation) || 'linear';
}

const layers = withInner(KNOWN_CASES.flatMap((known) => known.layers));

function absent(found: readonly string[], needed: readonly string[]): string[] {
  return needed.filter((name) => !found.includes(name));
}

describe('the known answer', () => {
  it('goes through every kind of layer', () => {
    const kinds = layerSchema.options.map(({ shape }) => shape.kind.value);
    expect(kinds).toContain('dense');
    expect(
      absent(
        layers.map(({ kind }) => kind),
        kinds,
      ),
    ).toEqual([]);
  });

  it('goes through every activation', () => {
    const functions = activationSchema.shape.function.options;
    expect(functions).toContain('softmax');
    expect(absent(layers.map(functionOf), [...ACTIVATIONS, ...functions])).toEqual([]);
  });

  it('goes through every loss', () => {
    const kinds = lossSchema.options.map(({ shape }) => shape.kind.value);
    expect(kinds).toContain('mse');
    const found = KNOWN_CASES.map(({ loss }) => resolveLoss(loss).kind);
    expect(absent(found, kinds)).toEqual([]);
  });

  it('is the same each time, and not for other kernels', async () => {
    const [strict, fused] = await Promise.all([loadKernelModule('strict'), loadKernelModule('fused')]);
    const answer = await knownAnswer(strict);
    expect(await knownAnswer(strict)).toBe(answer);
    expect(await knownAnswer(fused)).not.toBe(answer);
  });
});
