// Long short-term memory: see recurrent.ts. The equations stand in assembly/recurrent-lstm.ts.
import { z } from 'zod';
import type { Cell } from './recurrent-cell.ts';
import { recurrentFields } from './recurrent-schema.ts';

export const lstmSchema = z.strictObject({ kind: z.literal('lstm'), ...recurrentFields });

/** Gates i, f, g, o. Input and state meet in one sum, so both biases are one, and so are their gradients. */
export const LSTM: Cell = {
  kind: 'lstm',
  numGates: 4,
  forward: 'lstmForward',
  backward: 'lstmBackward',
  carries: 'state',

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
