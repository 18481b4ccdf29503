// Reducing the learning rate when the validation loss stops falling, as PyTorch's ReduceLROnPlateau does (mode min,
// relative threshold). What it remembers is plain data, so that a checkpoint can hold it.
import { isBetter, LOSS } from '../metrics/definitions.ts';
import type { ScheduleOf } from './schema.ts';

/** The state of a plateau between epochs. */
export interface PlateauState {
  /** Factor of the scheduled learning rate. */
  readonly factor: number;
  /** The least validation loss so far. */
  readonly best?: number | undefined;
  /** Epochs since the best one. */
  readonly numBad: number;
  /** Epochs to come that do not count. */
  readonly cooldown: number;
}

export const FIRST_PLATEAU: PlateauState = { factor: 1, numBad: 0, cooldown: 0 };

/** The state after an epoch with this validation loss. `learningRate`, the optimizer's, tells how far `min` is. */
export function plateauAfter(
  config: ScheduleOf<'plateau'>,
  learningRate: number,
  state: PlateauState,
  loss: number,
): PlateauState {
  const bar = state.best === undefined ? undefined : state.best * (1 - config.threshold);
  const isImproved = isBetter(LOSS.better, loss, bar);
  const best = isImproved ? loss : state.best;
  const isCooling = state.cooldown > 0;
  const cooldown = isCooling ? state.cooldown - 1 : 0;
  const numBad = isImproved || isCooling ? 0 : state.numBad + 1;
  if (numBad <= config.patience) return { factor: state.factor, best, numBad, cooldown };
  const lowest = Math.min(1, config.min / learningRate);
  const factor = Math.max(lowest, state.factor * config.factor);
  return { factor, best, numBad: 0, cooldown: config.cooldown };
}
