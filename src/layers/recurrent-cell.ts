// What tells an LSTM from a GRU, and the sizes that both are run with.
//
// Letters: B samples, T positions, I features, H units, G = gates x H.
import type { Kernels } from '../kernels/kernels.ts';
import type { ParameterTensor, Microbatch } from './layer.ts';

/** What a recurrent layer's config says, beside its kind. */
export interface RecurrentSpec {
  readonly units: number;
  readonly returnSequences: boolean;
}

/** A recurrent layer with all sizes known, as its runners see it. */
export interface RecurrentSizes {
  readonly cell: Cell;
  readonly spec: RecurrentSpec;
  readonly needsInputGradient: boolean;
  readonly positions: number;
  readonly inputs: number;
  readonly units: number;
  /** G: columns of a block of gates. */
  readonly columns: number;
  /** [G, I] */
  readonly inputWeight: ParameterTensor;
  /** [G, H] */
  readonly recurrentWeight: ParameterTensor;
  /** [G] */
  readonly inputBias: ParameterTensor;
  /** [G] */
  readonly recurrentBias: ParameterTensor;
}

/** Addresses of both f32 [G] biases, or of their gradients. */
export interface Biases {
  readonly input: number;
  readonly recurrent: number;
}

/** Blocks of a microbatch after its backward kernels: what the gradients are made from. */
export interface CellErrors {
  /** Address of [B, T, G]: gradients of what the gates got from the state. */
  readonly gates: number;
  /** Address of [B, T, H]; of a GRU: gradients of what the candidate got from the input. */
  readonly state: number;
  readonly units: number;
  /** B * T */
  readonly rows: number;
}

/** How sums over the shards of a microbatch are made. */
export interface ShardRows {
  readonly microbatch: Microbatch;
  /** Address of the shards' bounds in rows of B * T. */
  readonly bounds: number;
  /** Address of scratch for partial sums of G columns. */
  readonly slots: number;
}

/** See the head of this file. */
export interface Cell {
  readonly kind: 'lstm' | 'gru';
  /** G / H */
  readonly numGates: number;
  /** The kernels of one position, which take the same arguments for both kinds. */
  readonly forward: 'lstmForward' | 'gruForward';
  readonly backward: 'lstmBackward' | 'gruBackward';
  /** The block from which the next position takes more than products. */
  readonly carries: 'state' | 'hidden';
  /** Fills the f32 [4, H] that the forward kernel adds. */
  packBias(kernels: Kernels, biases: Biases, to: number, units: number): void;
  /** Sets the gradients of both biases. */
  biasGradients(kernels: Kernels, to: Biases, errors: CellErrors, shards: ShardRows): void;
  /** Turns `errors.gates` into gradients of what the gates got from the input. */
  turnToInput(kernels: Kernels, errors: CellErrors): void;
}
