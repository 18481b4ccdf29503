// A learned vector for each position of a sequence, added to what is there.
import { z } from 'zod';
import { EMBEDDING_DEVIATION } from './embedding.ts';
import { formatShape, sizeOf } from './layer.ts';
import type {
  Layer,
  LayerBuilder,
  LayerRunner,
  PackJob,
  ParameterTensor,
  Pass,
  Shape,
  Site,
} from './layer.ts';
import { stackedSums } from './leaf-sums.ts';

export const positionalEmbeddingSchema = z.strictObject({
  kind: z.literal('positionalEmbedding'),
});

/** See the head of this file. */
export class PositionalEmbeddingLayer implements Layer {
  readonly inputShape: Shape;
  readonly table: ParameterTensor;
  readonly numModules = 1;

  constructor(inputShape: Shape, builder: LayerBuilder) {
    if (inputShape.length !== 2) throw builder.refuse('positionalEmbedding takes [positions, units]');
    this.inputShape = inputShape;
    this.table = builder.tensor({
      name: 'weight',
      shape: inputShape,
      role: 'weight',
      initial: { kind: 'normal', scale: EMBEDDING_DEVIATION },
    });
  }

  get outputShape(): Shape {
    return this.inputShape;
  }

  get tensors(): ParameterTensor[] {
    return [this.table];
  }

  describe(): string {
    return `positionalEmbedding ${formatShape(this.inputShape)}`;
  }

  /** The table. */
  get packedLengths(): number[] {
    return [this.table.length];
  }

  pack({ kernels, flat, packed, part }: PackJob): void {
    const { length, offset } = this.table;
    if (part === 0) kernels.copyValues(flat + 4 * offset, length, packed[0] as number);
  }

  createRunner(site: Site): LayerRunner {
    return new PositionalEmbeddingRunner(this, site);
  }
}

class PositionalEmbeddingRunner implements LayerRunner {
  readonly #site: Site;
  readonly #table: ParameterTensor;
  readonly #width: number;
  readonly #y: number;
  readonly #bounds: number;
  readonly #slots: number;

  constructor({ inputShape, table }: PositionalEmbeddingLayer, site: Site) {
    this.#site = site;
    this.#table = table;
    this.#width = sizeOf(inputShape);
    this.#y = site.activations(site.maxRows * this.#width);
    this.#bounds = site.leafBounds(1);
    this.#slots = site.scratch(stackedSums(site.maxLeaves) * this.#width)[0] as number;
  }

  forward(pass: Pass, x: number): number {
    const [table] = this.#site.packed as [number];
    this.#site.kernels.addToRows(x, table, pass.rows, this.#width, this.#y);
    return this.#y;
  }

  backward(pass: Pass, dY: number): number {
    const dTable = pass.gradient + 4 * this.#table.offset;
    const numLeaves = pass.bounds.length - 1;
    this.#site.kernels.columnSumTree(dY, this.#width, this.#bounds, numLeaves, dTable, this.#slots);
    return dY;
  }
}
