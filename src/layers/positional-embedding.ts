// A learned vector for each position of a sequence, added to what is there.
import { z } from 'zod';
import { EMBEDDING_DEVIATION } from './embedding.ts';
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
import { stackedSums } from './shard-sums.ts';

export const positionalEmbeddingSchema = z.strictObject({
  kind: z.literal('positionalEmbedding'),
});

/** A learned vector for each position. */
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

  pack({ kernels, flat, packed, part }: PackOptions): void {
    const { length, offset } = this.table;
    if (part === 0) kernels.copyValues(flat + 4 * offset, length, packed[0] as number);
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new PositionalEmbeddingRunner(this, workspace);
  }
}

class PositionalEmbeddingRunner implements LayerRunner {
  readonly #workspace: Workspace;
  readonly #table: ParameterTensor;
  readonly #width: number;
  readonly #y: number;
  readonly #bounds: number;
  readonly #slots: number;

  constructor({ inputShape, table }: PositionalEmbeddingLayer, workspace: Workspace) {
    this.#workspace = workspace;
    this.#table = table;
    this.#width = sizeOf(inputShape);
    this.#y = workspace.activations(workspace.maxRows * this.#width);
    this.#bounds = workspace.shardBounds(1);
    this.#slots = workspace.scratch(stackedSums(workspace.maxShards) * this.#width)[0] as number;
  }

  forward(microbatch: Microbatch, x: number): number {
    const [table] = this.#workspace.packed as [number];
    this.#workspace.kernels.addToRows(x, table, microbatch.rows, this.#width, this.#y);
    return this.#y;
  }

  backward(microbatch: Microbatch, dY: number): number {
    const dTable = microbatch.gradient + 4 * this.#table.offset;
    const numShards = microbatch.bounds.length - 1;
    this.#workspace.kernels.columnSumTree(dY, this.#width, this.#bounds, numShards, dTable, this.#slots);
    return dY;
  }
}
