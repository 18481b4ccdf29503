// A learned vector for each token: ids [positions] become vectors [positions, units]. Ids come as
// f32 that hold whole numbers, as bytes of text do that are gathered with scale 1.
import { z } from 'zod';
import { LockstepError } from '../errors.ts';
import { formatShape } from '../shape.ts';
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
import { stackedSums, sumShards } from './shard-sums.ts';
import type { ShardSums } from './shard-sums.ts';
import { shareOf } from '../tree.ts';

/** Deviation of a table's first values: that of GPT-2 (Radford et al., 2019). */
export const EMBEDDING_DEVIATION = 0.02;

/** Rows of a table of vectors, at most: ids are whole numbers in float32. */
export const MAX_VOCABULARY = 1_048_576;

export const embeddingSchema = z.strictObject({
  kind: z.literal('embedding'),
  vocabulary: z.int().min(1).max(MAX_VOCABULARY).describe('Tokens; ids are 0 to vocabulary - 1'),
  units: z.int().min(1).max(65_536).describe('Size of the vector of a token'),
});

export type EmbeddingSpec = z.output<typeof embeddingSchema>;

/** An embedding of token ids. */
export class EmbeddingLayer implements Layer {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly spec: EmbeddingSpec;
  readonly positions: number;
  readonly table: ParameterTensor;
  readonly numModules = 1;

  constructor(spec: EmbeddingSpec, inputShape: Shape, builder: LayerBuilder) {
    if (inputShape.length !== 1) throw builder.refuse('embedding takes [positions] of token ids');
    if (builder.needsInputGradient) {
      throw builder.refuse(
        'token ids cannot come from layers that learn: they have no gradient',
        'let the embedding be the first layer',
      );
    }
    this.spec = spec;
    this.inputShape = inputShape;
    this.positions = inputShape[0] as number;
    this.outputShape = [this.positions, spec.units];
    this.table = builder.tensor({
      name: 'weight',
      shape: [spec.vocabulary, spec.units],
      role: 'weight',
      initial: { kind: 'normal', scale: EMBEDDING_DEVIATION },
    });
  }

  get tensors(): ParameterTensor[] {
    return [this.table];
  }

  describe(): string {
    return `embedding of ${this.spec.vocabulary} ${formatShape(this.inputShape)} -> ${formatShape(this.outputShape)}`;
  }

  /** The table. */
  get packedLengths(): number[] {
    return [this.table.length];
  }

  pack({ kernels, flat, packed, part, numParts }: PackOptions): void {
    const { length, offset } = this.table;
    const { from, to } = shareOf(length, part, numParts);
    kernels.copyValues(flat + 4 * (offset + from), to - from, (packed[0] as number) + 4 * from);
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new EmbeddingRunner(this, workspace);
  }
}

class EmbeddingRunner implements LayerRunner {
  readonly #layer: EmbeddingLayer;
  readonly #workspace: Workspace;
  readonly #y: number;
  readonly #slots: number;
  #ids = 0;

  constructor(layer: EmbeddingLayer, workspace: Workspace) {
    this.#layer = layer;
    this.#workspace = workspace;
    this.#y = workspace.activations(workspace.maxRows * layer.positions * layer.spec.units);
    this.#slots = workspace.scratch(stackedSums(workspace.maxShards) * layer.table.length)[0] as number;
  }

  forward(microbatch: Microbatch, x: number): number {
    const { positions, spec } = this.#layer;
    const { kernels, memory, packed } = this.#workspace;
    const [table] = packed as [number];
    this.#ids = x;
    const wrong = kernels.embeddingForward(
      x,
      microbatch.rows * positions,
      table,
      spec.vocabulary,
      spec.units,
      this.#y,
    );
    if (wrong > 0) throw wrongToken(memory.f32(x + 4 * (wrong - 1), 1)[0] as number, spec.vocabulary);
    return this.#y;
  }

  /** Ids have no gradient. */
  backward(microbatch: Microbatch, dY: number): number {
    const { positions, spec, table } = this.#layer;
    const { kernels } = this.#workspace;
    const sums: ShardSums = {
      destination: microbatch.gradient + 4 * table.offset,
      slots: this.#slots,
      length: table.length,
    };
    sumShards(kernels, microbatch, sums, (start, end, to) => {
      const first = start * positions;
      const length = (end - start) * positions;
      kernels.embeddingBackward(
        dY + 4 * first * spec.units,
        this.#ids + 4 * first,
        length,
        spec.vocabulary,
        spec.units,
        to,
      );
    });
    return 0;
  }
}

/** The error for a feature that is no id; `place` says where it stands, if that is known. */
export function wrongToken(id: number, vocabulary: number, place?: string): LockstepError {
  const where = place === undefined ? '' : `${place}: `;
  return new LockstepError({
    category: 'data',
    code: 'E_TOKEN_ID',
    message: `${where}${id} is not a token id of a vocabulary of ${vocabulary}: ids are whole numbers from 0 to ${vocabulary - 1}`,
    help: 'let the embedding have a larger vocabulary, and leave features of tokens unscaled',
  });
}
