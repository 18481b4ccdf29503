// Layers one after the other: a whole model, or the list inside a nested layer.
import type { Layer, LayerRunner, PackOptions, ParameterTensor, Microbatch, Workspace } from './layer.ts';
import type { Memory } from '../memory.ts';
import type { Shape } from '../shape.ts';
import { span } from '../trace.ts';

/** Layers one after the other. */
export class Stack implements Layer {
  readonly inputShape: Shape;
  readonly layers: readonly Layer[];
  readonly needsInputGradient: boolean;

  constructor(inputShape: Shape, layers: readonly Layer[], needsInputGradient: boolean) {
    this.inputShape = inputShape;
    this.layers = layers;
    this.needsInputGradient = needsInputGradient;
  }

  get outputShape(): Shape {
    return this.layers.at(-1)?.outputShape ?? this.inputShape;
  }

  get tensors(): ParameterTensor[] {
    return this.layers.flatMap((layer) => layer.tensors);
  }

  get numModules(): number {
    return 1;
  }

  describe(): string {
    return this.layers.map((layer) => layer.describe()).join(', ');
  }

  get packedLengths(): number[] {
    return this.layers.flatMap((layer) => layer.packedLengths);
  }

  /** Allocates the blocks that `pack` fills once a step, by all threads together; then they are only read. */
  allocatePacked(memory: Memory): number[] {
    return this.packedLengths.map((length) => memory.allocate(4 * length, 'packed weights'));
  }

  pack(options: PackOptions): void {
    const shares = divide(options.packed, this.layers);
    this.layers.forEach((layer, index) => layer.pack({ ...options, packed: shares[index] ?? [] }));
  }

  createRunner(workspace: Workspace): LayerRunner {
    const shares = divide(workspace.packed, this.layers);
    const runners = this.layers.map((layer, index) =>
      layer.createRunner(workspace.nested(shares[index] ?? [])),
    );
    return new StackRunner(this, runners);
  }
}

class StackRunner implements LayerRunner {
  readonly #runners: readonly LayerRunner[];
  readonly #spans: readonly { readonly forward: string; readonly backward: string }[];
  /** Offsets of the first tensor of each layer; undefined for a layer without any. */
  readonly #offsets: readonly (number | undefined)[];
  /** Layers below this one have no parameters, and nobody needs their dX. */
  readonly #lowest: number;

  constructor(stack: Stack, runners: readonly LayerRunner[]) {
    this.#runners = runners;
    this.#spans = stack.layers.map((layer, index) => {
      const name = `layer ${index}: ${layer.describe()}`;
      return { forward: `forward ${name}`, backward: `backward ${name}` };
    });
    this.#offsets = stack.layers.map(({ tensors: [first] }) => first?.offset);
    const first = this.#offsets.findIndex((offset) => offset !== undefined);
    this.#lowest = stack.needsInputGradient ? 0 : Math.max(first, 0);
  }

  forward(microbatch: Microbatch, x: number): number {
    let output = x;
    this.#runners.forEach((runner, index) => {
      const end = span(this.#spans[index]?.forward);
      output = runner.forward(microbatch, output);
      end();
    });
    return output;
  }

  backward(microbatch: Microbatch, dY: number): number {
    let error = dY;
    for (let index = this.#runners.length - 1; index >= this.#lowest; index--) {
      const end = span(this.#spans[index]?.backward);
      error = (this.#runners[index] as LayerRunner).backward(microbatch, error);
      end();
      const offset = this.#offsets[index];
      if (offset !== undefined) microbatch.complete(offset);
    }
    return error;
  }
}

/** Each layer's run of the packed addresses. */
function divide(packed: readonly number[], layers: readonly Layer[]): number[][] {
  let at = 0;
  return layers.map(({ packedLengths }) => packed.slice(at, (at += packedLengths.length)));
}
