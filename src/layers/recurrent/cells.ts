// The differences between an LSTM and a GRU, and the sizes that both are run with.
//
// Letters: B samples, T positions, I features, H units, G = gates x H.
import type { Kernels } from '../../kernels/kernels.ts';
import type { Memory } from '../../memory.ts';
import type { ParameterTensor, Microbatch } from '../layer.ts';

/** A recurrent layer's config, beside its kind. */
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
  /** Shape [G, I]. */
  readonly inputWeight: ParameterTensor;
  /** Shape [G, H]. */
  readonly recurrentWeight: ParameterTensor;
  /** Shape [G]. */
  readonly inputBias: ParameterTensor;
  /** Shape [G]. */
  readonly recurrentBias: ParameterTensor;
}

/** The record that the kernels of a position take (assembly/recurrent.ts): sizes, and addresses of blocks. */
export interface Recurrence {
  readonly units: number;
  readonly positions: number;
  readonly gates: number;
  readonly state: number;
  readonly hidden: number;
  readonly products: number;
  readonly bias: number;
  readonly zeros: number;
  readonly dHidden: number;
  readonly dState: number;
}

/** f32 of that record. */
export const RECURRENCE_LENGTH = 10;

/** Writes the record at `address`. */
export function writeRecurrence(memory: Memory, address: number, recurrence: Recurrence): void {
  const { units, positions, gates, state, hidden, products, bias, zeros, dHidden, dState } = recurrence;
  const fields = [units, positions, gates, state, hidden, products, bias, zeros, dHidden, dState];
  memory.u32(address, RECURRENCE_LENGTH).set(fields);
}

/** Addresses of both f32 [G] biases, or of their gradients. */
export interface Biases {
  readonly input: number;
  readonly recurrent: number;
}

/** Blocks of a microbatch after its backward kernels, from which the gradients are made. */
export interface CellErrors {
  /** Address of [B, T, G]: gradients of what the gates got from the state. */
  readonly gates: number;
  /** Address of [B, T, H]; of a GRU: gradients of what the candidate got from the input. */
  readonly state: number;
  readonly units: number;
  /** B * T rows. */
  readonly rows: number;
}

/** The shards of a microbatch, over which sums are made. */
export interface ShardRows {
  readonly microbatch: Microbatch;
  /** Address of the shards' bounds in rows of B * T. */
  readonly bounds: number;
  /** Address of scratch for partial sums of G columns. */
  readonly slots: number;
}

/** The differences between an LSTM and a GRU. */
export interface Cell {
  readonly kind: 'lstm' | 'gru';
  /** G / H. */
  readonly numGates: number;
  /** The kernels of one position, which take the same record for both kinds. */
  readonly forward: 'lstmForward' | 'gruForward';
  readonly backward: 'lstmBackward' | 'gruBackward';
  /** Fills the f32 [4, H] that the forward kernel adds. */
  packBias(kernels: Kernels, biases: Biases, to: number, units: number): void;
  /** Sets the gradients of both biases. */
  biasGradients(kernels: Kernels, to: Biases, errors: CellErrors, shards: ShardRows): void;
  /** Turns `errors.gates` into gradients of what the gates got from the input. */
  turnToInput(kernels: Kernels, errors: CellErrors): void;
}

/** Gates i, f, g, o. Input and state meet in one sum, so both biases are one, and so are their gradients. */
export const LSTM: Cell = {
  kind: 'lstm',
  numGates: 4,
  forward: 'lstmForward',
  backward: 'lstmBackward',

  packBias(kernels, { input, recurrent }, to, units) {
    kernels.copyRows(input, 0, 4 * units, 1, to, 0);
    kernels.addInto(to, recurrent, 4 * units);
  },

  biasGradients(kernels, { input, recurrent }, { gates, units }, { microbatch, bounds, slots }) {
    const columns = 4 * units;
    kernels.columnSumTree(gates, columns, bounds, microbatch.bounds.length - 1, recurrent, slots);
    kernels.copyRows(recurrent, 0, columns, 1, input, 0);
  },

  turnToInput() {
    // The gates take input and state alike.
  },
};

/** Gates r, z, n. The candidate n takes the state through r, bias included, so its biases stay apart. */
export const GRU: Cell = {
  kind: 'gru',
  numGates: 3,
  forward: 'gruForward',
  backward: 'gruBackward',

  packBias(kernels, { input, recurrent }, to, units) {
    kernels.copyRows(input, 0, 3 * units, 1, to, 0);
    kernels.addInto(to, recurrent, 2 * units);
    kernels.copyRows(recurrent + 8 * units, 0, units, 1, to + 12 * units, 0);
  },

  biasGradients(kernels, { input, recurrent }, { gates, state, units }, { microbatch, bounds, slots }) {
    const numShards = microbatch.bounds.length - 1;
    kernels.columnSumTree(gates, 3 * units, bounds, numShards, recurrent, slots);
    kernels.copyRows(recurrent, 0, 2 * units, 1, input, 0);
    kernels.columnSumTree(state, units, bounds, numShards, input + 8 * units, slots);
  },

  turnToInput(kernels, { gates, state, units, rows }) {
    kernels.copyRows(state, units, units, rows, gates + 8 * units, 3 * units);
  },
};
