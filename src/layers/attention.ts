// Multi-head self-attention over [positions, units] (Vaswani et al., 2017), with the tensors of
// torch.nn.MultiheadAttention. Letters: B samples, T positions, D units, H units of a head.
//
//   x [B T, D] --in_proj--> q | k | v [B T, 3D]
//                             |   of each sample and head: P = softmax(q k^T / sqrt(H)) [T, T]
//                             v   and its columns of o = P v
//   y [B T, D] <--out_proj-- o [B T, D]
import { z } from 'zod';
import type { Memory } from '../memory.ts';
import { TILE_LENGTH, packedLeftLength, packedRightLength } from '../kernels/kernels.ts';
import { activationNumber } from './activation.ts';
import { initialValues } from './initializer.ts';
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
import { Linear, LinearRunner } from './linear.ts';

export const attentionSchema = z.strictObject({
  kind: z.literal('attention'),
  heads: z.int().min(1).max(1024).describe('Parts of the units that attend independently'),
  causal: z.boolean().default(false).describe('Whether a position sees only itself and those before it'),
});

export type AttentionSpec = z.output<typeof attentionSchema>;

/** Multi-head self-attention over [positions, units]. */
export class AttentionLayer implements Layer {
  readonly inputShape: Shape;
  readonly needsInputGradient: boolean;
  readonly spec: AttentionSpec;
  readonly positions: number;
  readonly units: number;
  readonly headSize: number;
  readonly inProjection: Linear;
  readonly outProjection: Linear;
  readonly numModules = 1;

  constructor(spec: AttentionSpec, inputShape: Shape, builder: LayerBuilder) {
    const [positions, units] = inputShape;
    if (inputShape.length !== 2 || positions === undefined || units === undefined) {
      throw builder.refuse('attention takes [positions, units]');
    }
    if (units % spec.heads !== 0) {
      throw builder.refuse(
        `${units} units do not divide into ${spec.heads} heads`,
        'choose heads that divide the units',
      );
    }
    this.spec = spec;
    this.inputShape = inputShape;
    this.needsInputGradient = builder.needsInputGradient;
    this.positions = positions;
    this.units = units;
    this.headSize = units / spec.heads;
    const linear = (
      outputs: number,
      names: Linear['options']['names'],
      needsInputGradient: boolean,
    ): Linear => {
      const initial = initialValues('glorotUniform', { fanIn: units, fanOut: outputs });
      const options = {
        inputs: units,
        outputs,
        rowsPerSample: positions,
        names,
        initial,
        needsInputGradient,
      };
      return new Linear(options, builder);
    };
    this.inProjection = linear(
      3 * units,
      { weight: 'in_proj_weight', bias: 'in_proj_bias' },
      this.needsInputGradient,
    );
    this.outProjection = linear(units, { weight: 'out_proj.weight', bias: 'out_proj.bias' }, true);
  }

  get outputShape(): Shape {
    return this.inputShape;
  }

  get tensors(): ParameterTensor[] {
    return [...this.inProjection.tensors, ...this.outProjection.tensors];
  }

  /**
   * True where P lasts from forward to backward: while it is no more than four times q, k and v.
   * Beyond that backward computes it again, to the same bits.
   */
  get keepsProbabilities(): boolean {
    return this.spec.heads * this.positions <= 12 * this.units;
  }

  describe(): string {
    const { heads, causal } = this.spec;
    return `attention ${formatShape(this.inputShape)}, ${heads} heads${causal ? ', causal' : ''}`;
  }

  get packedLengths(): number[] {
    return [...this.inProjection.packedLengths, ...this.outProjection.packedLengths];
  }

  pack(options: PackOptions): void {
    const numBlocks = this.inProjection.packedLengths.length;
    this.inProjection.pack({ ...options, packed: options.packed.slice(0, numBlocks) });
    this.outProjection.pack({ ...options, packed: options.packed.slice(numBlocks) });
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new AttentionRunner(this, workspace);
  }
}

/** Addresses of the blocks that are kept from forward to backward. */
interface Kept {
  readonly qkv: number;
  readonly probabilities: number;
  readonly heads: number;
  readonly y: number;
}

class AttentionRunner implements LayerRunner {
  readonly #layer: AttentionLayer;
  readonly #workspace: Workspace;
  readonly #in: LinearRunner;
  readonly #out: LinearRunner;
  readonly #kept: Kept;
  readonly #scratch: { dQkv: number; dScores: number; left: number; right: number; tile: number };
  /** Address of the kernels' record. */
  readonly #record: number;
  #x = 0;

  constructor(layer: AttentionLayer, workspace: Workspace) {
    const { positions, units, headSize, spec, inProjection, outProjection } = layer;
    const rows = workspace.maxRows * positions;
    const square = positions * positions;
    this.#layer = layer;
    this.#workspace = workspace;
    const [inScratch, outScratch] = [
      inProjection.scratchLengths(workspace),
      outProjection.scratchLengths(workspace),
    ];
    // The two maps take turns, so they share their scratch.
    const [dQkv = 0, dScores = 0, left = 0, right = 0, tile = 0, ...shared] = workspace.scratch(
      3 * rows * units,
      square,
      packedLeftLength(positions, Math.max(positions, headSize)),
      Math.max(packedRightLength(headSize, positions), packedRightLength(positions, headSize)),
      TILE_LENGTH,
      ...inScratch.map((length, index) => Math.max(length, outScratch[index] ?? 0)),
    );
    this.#scratch = { dQkv, dScores, left, right, tile };
    const numBlocks = inProjection.packedLengths.length;
    this.#in = new LinearRunner(inProjection, workspace, workspace.packed.slice(0, numBlocks), shared);
    this.#out = new LinearRunner(outProjection, workspace, workspace.packed.slice(numBlocks), shared);
    const keptSquares = layer.keepsProbabilities ? workspace.maxRows * spec.heads : 1;
    this.#kept = {
      qkv: workspace.activations(3 * rows * units),
      probabilities: workspace.activations(keptSquares * square),
      heads: workspace.activations(rows * units),
      y: workspace.activations(rows * units),
    };
    this.#record = workspace.activations(ATTENTION_LENGTH);
    workspace.reserveError(rows * units);
  }

  forward(microbatch: Microbatch, x: number): number {
    const { positions, units } = this.#layer;
    const { kernels } = this.#workspace;
    const { qkv, heads, y } = this.#kept;
    const rows = microbatch.rows * positions;
    this.#x = x;
    this.#writeRecord();
    this.#in.forward(microbatch, x, qkv);
    kernels.biasActivationForward(LINEAR, qkv, this.#in.biases, rows, 3 * units);
    this.#eachHead(microbatch, (at) => {
      this.#computeProbabilities(at);
      kernels.attentionOutput(this.#record, at.probabilities, at.q + 8 * units, heads + at.offset);
    });
    this.#out.forward(microbatch, heads, y);
    kernels.biasActivationForward(LINEAR, y, this.#out.biases, rows, units);
    return y;
  }

  /** dX goes over dY, which is spent by then. */
  backward(microbatch: Microbatch, dY: number): number {
    const dHeads = this.#workspace.otherError(dY);
    this.#out.parameterGradients(microbatch, this.#kept.heads, dY);
    this.#out.inputGradient(microbatch, dY, dHeads);
    this.#eachHead(microbatch, (at) => {
      if (!this.#layer.keepsProbabilities) this.#computeProbabilities(at);
      this.#backwardHead(at, dHeads + at.offset);
    });
    this.#in.parameterGradients(microbatch, this.#x, this.#scratch.dQkv);
    if (this.#layer.needsInputGradient) this.#in.inputGradient(microbatch, this.#scratch.dQkv, dY);
    return dY;
  }

  #writeRecord(): void {
    const { positions, units, headSize, spec } = this.#layer;
    const sizes = { positions, headSize, stride: 3 * units, outStride: units, isCausal: spec.causal };
    writeAttention(this.#workspace.memory, this.#record, { ...sizes, ...this.#scratch });
  }

  #computeProbabilities({ q, probabilities }: HeadAddresses): void {
    const k = q + 4 * this.#layer.units;
    this.#workspace.kernels.attentionProbabilities(this.#record, q, k, probabilities);
  }

  #backwardHead({ q, dQ, probabilities }: HeadAddresses, dOut: number): void {
    const { units } = this.#layer;
    const { kernels } = this.#workspace;
    const [k, v, dK, dV] = [q + 4 * units, q + 8 * units, dQ + 4 * units, dQ + 8 * units];
    kernels.attentionBackwardScores(this.#record, v, dOut, probabilities, dV);
    kernels.attentionBackwardInputs(this.#record, q, k, dQ, dK);
  }

  /** Visits every head of every sample. */
  #eachHead(microbatch: Microbatch, visit: (addresses: HeadAddresses) => void): void {
    const { positions, units, headSize, spec, keepsProbabilities } = this.#layer;
    for (let row = 0; row < microbatch.rows; row++) {
      for (let head = 0; head < spec.heads; head++) {
        const square = keepsProbabilities ? row * spec.heads + head : 0;
        const fromStart = 4 * (3 * row * positions * units + head * headSize);
        visit({
          q: this.#kept.qkv + fromStart,
          dQ: this.#scratch.dQkv + fromStart,
          probabilities: this.#kept.probabilities + 4 * square * positions * positions,
          offset: 4 * (row * positions * units + head * headSize),
        });
      }
    }
  }
}

/** The record that the kernels of a head take (assembly/attention.ts): sizes, and addresses of scratch. */
export interface Attention {
  readonly positions: number;
  readonly headSize: number;
  readonly stride: number;
  readonly outStride: number;
  readonly isCausal: boolean;
  readonly left: number;
  readonly right: number;
  readonly tile: number;
  readonly dScores: number;
}

/** f32 of that record. */
export const ATTENTION_LENGTH = 9;

/** Writes the record at `address`. */
export function writeAttention(memory: Memory, address: number, attention: Attention): void {
  const { positions, headSize, stride, outStride, isCausal, left, right, tile, dScores } = attention;
  const sizes = [positions, headSize, stride, outStride, isCausal ? 1 : 0];
  memory.u32(address, ATTENTION_LENGTH).set([...sizes, left, right, tile, dScores]);
}

/** Addresses of one head of one sample; k and v (and their gradients) are D and 2D values after q. */
interface HeadAddresses {
  readonly q: number;
  readonly dQ: number;
  readonly probabilities: number;
  /** Bytes from the start of o. */
  readonly offset: number;
}

const LINEAR = activationNumber('linear');
