// Learned vectors for columns of a table: of a row, the numbers at some places are ids, each of which becomes
// the vector of that id in a table of its own; the other numbers are passed on between them. No config has
// this layer: the columns of a table ask for it, and it comes before all others.
//
//   x [I]   a   id   b   c   id        y [O]   a   v v v v   b   c   w w
import { z } from 'zod';
import { formatShape } from '../shape.ts';
import { shareOf } from '../tree.ts';
import { EMBEDDING_DEVIATION, MAX_VOCABULARY, wrongToken } from './embedding.ts';
import type {
  Layer,
  LayerBuilder,
  LayerRunner,
  Microbatch,
  PackOptions,
  ParameterTensor,
  Workspace,
} from './layer.ts';
import type { Shape } from '../shape.ts';
import { stackedSums, sumShards } from './shard-sums.ts';

export const columnEmbeddingsSchema = z.strictObject({
  kind: z.literal('columnEmbeddings'),
  columns: z
    .array(
      z.strictObject({
        place: z.int().min(0).max(2_147_483_647),
        vocabulary: z.int().min(1).max(MAX_VOCABULARY),
        units: z.int().min(1).max(65_536),
      }),
    )
    .min(1)
    .max(100_000),
});

export type ColumnEmbeddingsSpec = z.output<typeof columnEmbeddingsSchema>;

/** An embedded column: where its id is among the inputs, and its vector among the outputs. */
interface EmbeddedColumn {
  readonly place: number;
  readonly to: number;
  readonly vocabulary: number;
  readonly units: number;
  readonly table: ParameterTensor;
}

/** Numbers that are passed on, `length` of them. */
interface PassedOn {
  readonly from: number;
  readonly to: number;
  readonly length: number;
}

/** Embeddings of columns. */
export class ColumnEmbeddingsLayer implements Layer {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly columns: readonly EmbeddedColumn[];
  readonly passedOn: readonly PassedOn[];
  readonly numModules = 1;

  constructor({ columns }: ColumnEmbeddingsSpec, inputShape: Shape, builder: LayerBuilder) {
    const [width = 0] = inputShape;
    const isAscending = columns.every(({ place }, at) => place > (columns[at - 1]?.place ?? -1));
    if (inputShape.length !== 1 || !isAscending || (columns.at(-1)?.place ?? 0) >= width) {
      throw builder.refuse('columnEmbeddings takes rows of numbers, with ids at ascending places');
    }
    if (builder.needsInputGradient) throw builder.refuse('columnEmbeddings has no gradient of its input');
    const passedOn: PassedOn[] = [];
    let [from, to] = [0, 0];
    const passOn = (length: number): void => {
      if (length > 0) passedOn.push({ from, to, length });
      [from, to] = [from + length, to + length];
    };
    this.columns = columns.map(({ place, vocabulary, units }, index) => {
      passOn(place - from);
      const table = builder.tensor({
        name: `tables.${index}.weight`,
        shape: [vocabulary, units],
        role: 'weight',
        initial: { kind: 'normal', scale: EMBEDDING_DEVIATION },
      });
      const column = { place, to, vocabulary, units, table };
      [from, to] = [from + 1, to + units];
      return column;
    });
    passOn(width - from);
    this.passedOn = passedOn;
    this.inputShape = inputShape;
    this.outputShape = [to];
  }

  get tensors(): ParameterTensor[] {
    return this.columns.map(({ table }) => table);
  }

  describe(): string {
    return `columnEmbeddings of ${this.columns.length} ${formatShape(this.inputShape)} -> ${formatShape(this.outputShape)}`;
  }

  /** The tables. */
  get packedLengths(): number[] {
    return this.tensors.map(({ length }) => length);
  }

  pack({ kernels, flat, packed, part, numParts }: PackOptions): void {
    for (const [index, { length, offset }] of this.tensors.entries()) {
      const { from, to } = shareOf(length, part, numParts);
      kernels.copyValues(flat + 4 * (offset + from), to - from, (packed[index] as number) + 4 * from);
    }
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new ColumnEmbeddingsRunner(this, workspace);
  }
}

class ColumnEmbeddingsRunner implements LayerRunner {
  readonly #layer: ColumnEmbeddingsLayer;
  readonly #workspace: Workspace;
  readonly #y: number;
  /** Ids of all rows, column after column, until their gradients are summed. */
  readonly #ids: readonly number[];
  readonly #vectors: number;
  readonly #slots: number;

  constructor(layer: ColumnEmbeddingsLayer, workspace: Workspace) {
    this.#layer = layer;
    this.#workspace = workspace;
    const { maxRows, maxShards } = workspace;
    this.#y = workspace.activations(maxRows * (layer.outputShape[0] as number));
    this.#ids = layer.columns.map(() => workspace.activations(maxRows));
    const widest = Math.max(...layer.columns.map(({ units }) => units));
    const largest = Math.max(...layer.tensors.map(({ length }) => length));
    const [vectors = 0, slots = 0] = workspace.scratch(maxRows * widest, stackedSums(maxShards) * largest);
    this.#vectors = vectors;
    this.#slots = slots;
  }

  forward({ rows }: Microbatch, x: number): number {
    const { columns, inputShape, outputShape, passedOn } = this.#layer;
    const { kernels, memory, packed } = this.#workspace;
    const [inputs, outputs] = [inputShape[0] as number, outputShape[0] as number];
    for (const { from, to, length } of passedOn)
      kernels.copyRows(x + 4 * from, inputs, length, rows, this.#y + 4 * to, outputs);
    for (const [index, { place, to, vocabulary, units }] of columns.entries()) {
      const ids = this.#ids[index] as number;
      kernels.copyRows(x + 4 * place, inputs, 1, rows, ids, 1);
      const table = packed[index] as number;
      const wrong = kernels.embeddingForward(ids, rows, table, vocabulary, units, this.#vectors);
      if (wrong > 0) throw wrongToken(memory.f32(ids + 4 * (wrong - 1), 1)[0] as number, vocabulary);
      kernels.copyRows(this.#vectors, units, units, rows, this.#y + 4 * to, outputs);
    }
    return this.#y;
  }

  /** Ids have no gradient. */
  backward(microbatch: Microbatch, dY: number): number {
    const { columns, outputShape } = this.#layer;
    const { kernels } = this.#workspace;
    const outputs = outputShape[0] as number;
    for (const [index, { to, vocabulary, units, table }] of columns.entries()) {
      kernels.copyRows(dY + 4 * to, outputs, units, microbatch.rows, this.#vectors, units);
      const ids = this.#ids[index] as number;
      const { length, offset } = table;
      const sums = { destination: microbatch.gradient + 4 * offset, slots: this.#slots, length };
      sumShards(kernels, microbatch, sums, (start, end, destination) => {
        const errors = this.#vectors + 4 * start * units;
        kernels.embeddingBackward(errors, ids + 4 * start, end - start, vocabulary, units, destination);
      });
    }
    return 0;
  }
}
