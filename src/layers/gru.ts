// Gated recurrent unit: see recurrent.ts. The equations stand in assembly/recurrent-gru.ts.
import { z } from 'zod';
import type { Cell } from './recurrent-cell.ts';
import { recurrentFields } from './recurrent-schema.ts';

export const gruSchema = z.strictObject({ kind: z.literal('gru'), ...recurrentFields });

/** Gates r, z, n. The candidate n takes the state through r, bias included, so its biases stay apart. */
export const GRU: Cell = {
  kind: 'gru',
  numGates: 3,
  forward: 'gruForward',
  backward: 'gruBackward',
  carries: 'hidden',

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
