// What the configs of LSTM and GRU have in common.
import { z } from 'zod';

export const recurrentFields = {
  units: z.int().min(1).max(1_048_576).describe('Outputs of the layer'),
  returnSequences: z
    .boolean()
    .default(false)
    .describe('Whether every position is an output, or only the last one'),
};
