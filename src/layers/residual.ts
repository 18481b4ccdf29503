// A residual block (He et al., 2016): y = body(x) + shortcut(x), where the shortcut is x
// itself unless it has layers.
//
//   x --+--> body ------> (+) --> y     forward keeps y apart from the body's output, which its
//       |                  ^            last layer needs; backward keeps dY there, while the body's
//       +--> shortcut -----+            layers use both error blocks
import { formatShape, sizeOf } from '../shape.ts';
import type {
  Layer,
  LayerBuilder,
  LayerRunner,
  PackOptions,
  ParameterTensor,
  Microbatch,
  Workspace,
} from './layer.ts';
import type { Shape } from '../shape.ts';

/** A checked residual block of a config; its schema holds all others, and stands with them in registry.ts. */
export interface ResidualSpec {
  readonly kind: 'residual';
  readonly layers: readonly { readonly kind: string }[];
  readonly shortcut?: readonly { readonly kind: string }[] | undefined;
}

/** A residual block. */
export class ResidualLayer implements Layer {
  readonly inputShape: Shape;
  readonly needsInputGradient: boolean;
  readonly body: Layer;
  readonly shortcut: Layer | undefined;
  readonly numModules = 1;

  constructor({ layers, shortcut }: ResidualSpec, inputShape: Shape, builder: LayerBuilder) {
    this.inputShape = inputShape;
    this.needsInputGradient = builder.needsInputGradient;
    this.body = builder.stack({ name: 'body', field: 'layers', specs: layers, inputShape });
    // Behind the body in the flat vector, so backward goes through it first.
    this.shortcut =
      shortcut && builder.stack({ name: 'shortcut', field: 'shortcut', specs: shortcut, inputShape });
    const other = this.shortcut?.outputShape ?? inputShape;
    if (formatShape(other) !== formatShape(this.body.outputShape)) {
      throw builder.refuse(
        `the layers give ${formatShape(this.body.outputShape)}, the shortcut ${formatShape(other)}`,
        shortcut
          ? 'let both end with one shape'
          : 'let the layers keep the shape, or give the block a shortcut that ends with theirs',
      );
    }
  }

  get outputShape(): Shape {
    return this.body.outputShape;
  }

  get tensors(): ParameterTensor[] {
    return [...this.body.tensors, ...(this.shortcut?.tensors ?? [])];
  }

  describe(): string {
    const shortcut = this.shortcut ? ` + (${this.shortcut.describe()})` : '';
    return `residual (${this.body.describe()})${shortcut}`;
  }

  get packedLengths(): number[] {
    return [...this.body.packedLengths, ...(this.shortcut?.packedLengths ?? [])];
  }

  pack(options: PackOptions): void {
    const numBlocks = this.body.packedLengths.length;
    this.body.pack({ ...options, packed: options.packed.slice(0, numBlocks) });
    this.shortcut?.pack({ ...options, packed: options.packed.slice(numBlocks) });
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new ResidualRunner(this, workspace);
  }
}

class ResidualRunner implements LayerRunner {
  readonly #workspace: Workspace;
  readonly #body: LayerRunner;
  readonly #shortcut: LayerRunner | undefined;
  readonly #needsInputGradient: boolean;
  readonly #inputSize: number;
  readonly #outputSize: number;
  /** y in forward, dY in backward, when nobody reads y any more. */
  readonly #y: number;
  /** Takes the error back through the shortcut. */
  readonly #shortcutError: number;

  constructor(
    { body, shortcut, inputShape, outputShape, needsInputGradient }: ResidualLayer,
    workspace: Workspace,
  ) {
    const numBlocks = body.packedLengths.length;
    this.#workspace = workspace;
    this.#needsInputGradient = needsInputGradient;
    this.#inputSize = sizeOf(inputShape);
    this.#outputSize = sizeOf(outputShape);
    this.#body = body.createRunner(workspace.nested(workspace.packed.slice(0, numBlocks)));
    this.#shortcut = shortcut?.createRunner(workspace.nested(workspace.packed.slice(numBlocks)));
    this.#y = workspace.activations(workspace.maxRows * this.#outputSize);
    this.#shortcutError = shortcut ? workspace.activations(workspace.maxRows * this.#inputSize) : this.#y;
  }

  forward(microbatch: Microbatch, x: number): number {
    const shortcut = this.#shortcut ? this.#shortcut.forward(microbatch, x) : x;
    const body = this.#body.forward(microbatch, x);
    this.#workspace.kernels.addToRows(body, shortcut, 1, microbatch.rows * this.#outputSize, this.#y);
    return this.#y;
  }

  backward(microbatch: Microbatch, dY: number): number {
    const { kernels } = this.#workspace;
    const inputLength = microbatch.rows * this.#inputSize;
    const outputLength = microbatch.rows * this.#outputSize;
    kernels.copyValues(dY, outputLength, this.#y);
    if (this.#shortcut) {
      const error = this.#shortcut.backward(microbatch, dY);
      if (this.#needsInputGradient) kernels.copyValues(error, inputLength, this.#shortcutError);
      kernels.copyValues(this.#y, outputLength, dY);
    }
    const dX = this.#body.backward(microbatch, dY);
    if (!this.#needsInputGradient) return 0;
    kernels.addInto(dX, this.#shortcutError, inputLength);
    return dX;
  }
}
