// A whole training in this very process, with all that it tells an observer.
import path from 'node:path';
import { InProcessCompute } from '../../coordinator/in-process-compute.ts';
import { initialState, prepareRun } from '../../coordinator/prepare.ts';
import { train } from '../../coordinator/train.ts';
import type { EpochRecord, StepRecord, TrainingResult } from '../../coordinator/train.ts';
import { loadConfig } from '../../src/config/load.ts';

export interface Training {
  readonly result: TrainingResult;
  readonly steps: readonly StepRecord[];
  readonly epochs: readonly EpochRecord[];
  readonly weightsSha256: string;
}

/** Trains what `table.yaml` in the directory describes. */
export async function trainInProcess(directory: string): Promise<Training> {
  const { config } = await loadConfig({ path: path.join(directory, 'table.yaml'), env: {} });
  const prepared = await prepareRun(config, () => undefined);
  const state = await initialState(prepared);
  const compute = await InProcessCompute.create(prepared, state);
  const steps: StepRecord[] = [];
  const epochs: EpochRecord[] = [];
  const observer = {
    onStep: (step: StepRecord) => steps.push(step),
    onEpoch: (epoch: EpochRecord) => epochs.push(epoch),
  };
  const signal = new AbortController().signal;
  const result = await train({ ...prepared, state, compute, observer, signal });
  return { result, steps, epochs, weightsSha256: state.weightsSha256() };
}
