// Layers as typed calls: `dense({ units: 64, activation: 'relu' })` is the mapping that a config file would hold,
// with its fields completed and checked by an editor.
import type { LayerInput } from '../src/layers/registry.ts';

type InputOf<Kind extends LayerInput['kind']> = Extract<LayerInput, { kind: Kind }>;
type OptionsOf<Kind extends LayerInput['kind']> = Omit<InputOf<Kind>, 'kind'>;
/** Options may be left out where none is required. */
type Arguments<Options> = Record<never, never> extends Options ? [options?: Options] : [options: Options];

/** A call that makes a layer of one kind. */
type Builder<Kind extends LayerInput['kind']> = (...args: Arguments<OptionsOf<Kind>>) => InputOf<Kind>;

function builder<Kind extends LayerInput['kind']>(kind: Kind): Builder<Kind> {
  return (...[options]) => ({ kind, ...options }) as InputOf<Kind>;
}

/** Layers one after the other, as `model` of a config. */
export function sequential(layers: readonly LayerInput[]): { layers: LayerInput[] } {
  return { layers: [...layers] };
}

/** Fully connected: y = activation(x W^T + b). */
export const dense = builder('dense');
