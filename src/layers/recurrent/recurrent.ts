// Layers that carry a state from position to position: [positions, features] -> [positions, units],
// or [units] where only the last position is wanted. Tensors, names and equations are PyTorch's
// (torch.nn.LSTM and GRU, one layer, batch_first, from a state of zeros). Letters as in cells.ts.
import { z } from 'zod';
import { TILE_COLUMNS, packedRightLength } from '../../kernels/kernels.ts';
import { formatShape } from '../../shape.ts';
import type { Layer, LayerBuilder, LayerRunner, PackOptions, ParameterTensor, Workspace } from '../layer.ts';
import type { Shape } from '../../shape.ts';
import type { Cell, RecurrentSizes, RecurrentSpec } from './cells.ts';
import { RecurrentRunner } from './runner.ts';
import { shareOf } from '../../tree.ts';

const recurrentFields = {
  units: z.int().min(1).max(1_048_576).describe('Outputs of the layer'),
  returnSequences: z
    .boolean()
    .default(false)
    .describe('Whether every position is an output, or only the last one'),
};

export const lstmSchema = z.strictObject({ kind: z.literal('lstm'), ...recurrentFields });
export const gruSchema = z.strictObject({ kind: z.literal('gru'), ...recurrentFields });

/** An LSTM or GRU layer. */
export class RecurrentLayer implements Layer {
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly numModules = 1;
  readonly #sizes: RecurrentSizes;

  constructor(cell: Cell, spec: RecurrentSpec, inputShape: Shape, builder: LayerBuilder) {
    const [positions, inputs] = inputShape;
    if (inputShape.length !== 2 || positions === undefined || inputs === undefined) {
      throw builder.refuse(
        'expected samples of [positions, features]',
        'put a reshape in front: { kind: reshape, shape: [positions, features] }',
      );
    }
    const { units, returnSequences } = spec;
    this.inputShape = inputShape;
    this.outputShape = returnSequences ? [positions, units] : [units];
    const { needsInputGradient } = builder;
    const columns = cell.numGates * units;
    const initial = { kind: 'uniform', scale: 1 / Math.sqrt(units) } as const;
    const weight = (name: string, width: number): ParameterTensor =>
      builder.tensor({ name, shape: [columns, width], role: 'weight', initial });
    const bias = (name: string): ParameterTensor =>
      builder.tensor({ name, shape: [columns], role: 'bias', initial });
    const sizes = { cell, spec, needsInputGradient, positions, inputs, units, columns };
    // In the order of the flat vector.
    const inputWeight = weight('weight_ih_l0', inputs);
    const recurrentWeight = weight('weight_hh_l0', units);
    const inputBias = bias('bias_ih_l0');
    const recurrentBias = bias('bias_hh_l0');
    this.#sizes = { ...sizes, inputWeight, recurrentWeight, inputBias, recurrentBias };
  }

  get tensors(): ParameterTensor[] {
    const { inputWeight, recurrentWeight, inputBias, recurrentBias } = this.#sizes;
    return [inputWeight, recurrentWeight, inputBias, recurrentBias];
  }

  describe(): string {
    return `${this.#sizes.cell.kind} ${formatShape(this.inputShape)} -> ${formatShape(this.outputShape)}`;
  }

  /**
   * Panels of both weights for the gates, of both for the way back, the bias, and
   * zeros that nobody writes.
   */
  get packedLengths(): number[] {
    const { inputs, units, columns, needsInputGradient } = this.#sizes;
    return [
      packedRightLength(inputs, columns),
      packedRightLength(units, columns),
      needsInputGradient ? packedRightLength(columns, inputs) : 0,
      packedRightLength(columns, units),
      4 * units,
      4 * units,
    ];
  }

  pack({ kernels, flat, packed, part, numParts }: PackOptions): void {
    const [toGates, stateToGates, toInput, toState, bias] = packed as [
      number,
      number,
      number,
      number,
      number,
    ];
    const { cell, inputs, units, columns, needsInputGradient } = this.#sizes;
    const share = (length: number): [number, number] => {
      const { from, to } = shareOf(Math.ceil(length / TILE_COLUMNS), part, numParts);
      return [from, to];
    };
    const { inputWeight, recurrentWeight, inputBias, recurrentBias } = this.#sizes;
    const addressOf = ({ offset }: ParameterTensor): number => flat + 4 * offset;
    const input = addressOf(inputWeight);
    const recurrent = addressOf(recurrentWeight);
    kernels.packRightRows(input, columns, inputs, inputs, toGates, ...share(columns));
    kernels.packRightRows(recurrent, columns, units, units, stateToGates, ...share(columns));
    if (needsInputGradient)
      kernels.packRightColumns(input, inputs, columns, inputs, toInput, ...share(inputs));
    kernels.packRightColumns(recurrent, units, columns, units, toState, ...share(units));
    const biases = { input: addressOf(inputBias), recurrent: addressOf(recurrentBias) };
    if (part === 0) cell.packBias(kernels, biases, bias, units);
  }

  createRunner(workspace: Workspace): LayerRunner {
    return new RecurrentRunner(this.#sizes, workspace);
  }
}
