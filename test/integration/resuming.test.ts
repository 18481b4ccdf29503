// Resuming from any step of a training: the same weights and the same records as without an interruption.
import { describe, expect, it } from 'vitest';
import { trainingProgressSchema } from '../../coordinator/training/training-progress.ts';
import type { TrainingProgress } from '../../coordinator/training/training-progress.ts';
import { parseExactly, stringifyExactly } from '../../src/json.ts';
import { trainInProcess } from '../helpers/in-process-training.ts';
import type { Training } from '../helpers/in-process-training.ts';
import { INFINITE_RUN, infiniteTable, tableRun } from '../helpers/table-run.ts';

/**
 * Up to 20 epochs of 4 steps: averages, patience and learning rates that depend on earlier validation
 * results.
 */
const RUN = {
  batchSize: 256,
  epochs: 20,
  optimizer: { kind: 'lion' as const, learningRate: 0.02, weightDecay: 0.01 },
  schedule: { kind: 'plateau' as const, patience: 0, factor: 0.5, threshold: 0.05, warmup: { steps: 5 } },
  clip: { norm: 0.5 },
  ema: { decay: 0.5 },
  earlyStopping: { patience: 2, minDelta: 0.003 },
};

function outcomeOf({ result, weightsSha256 }: Training): object {
  const { history, best, stoppedEarly, steps, samplesSeen, test, validation } = result;
  return { history, best, stoppedEarly, steps, samplesSeen, test, validation, weightsSha256 };
}

describe('a resumed training', () => {
  it('a training resumed after any step or epoch results in the same weights and metrics', async () => {
    const directory = tableRun(RUN);
    const whole = await trainInProcess(directory, { isSaving: true });
    const lossesOf = ({ steps }: Training): object[] =>
      steps.map(({ step, loss, gradNorm, learningRate, chain }) => ({
        step,
        loss,
        gradNorm,
        learningRate,
        chain,
      }));
    // Early stopping and a falling learning rate have both happened, or the run would not test them.
    expect(whole.result.stoppedEarly).toBeDefined();
    expect(new Set(whole.steps.slice(5).map(({ learningRate }) => learningRate)).size).toBeGreaterThan(1);
    expect(whole.saved.length).toBe(whole.steps.length + whole.epochs.length);
    for (const saved of whole.saved) {
      const rest = await trainInProcess(directory, { from: saved });
      expect(outcomeOf(rest)).toEqual(outcomeOf(whole));
      expect(lossesOf(rest)).toEqual(lossesOf(whole).slice(saved.optimizerSteps));
    }
  });

  it('a training resumed after any step results in the same weights where the monitored metric is infinite', async () => {
    const directory = tableRun(INFINITE_RUN, infiniteTable());
    const whole = await trainInProcess(directory, { isSaving: true });
    expect(whole.epochs.map(({ validation }) => validation)).toMatchObject([
      { rmse: Infinity, r2: -Infinity },
      { rmse: Infinity, r2: -Infinity },
      { rmse: Infinity, r2: -Infinity },
    ]);
    expect(whole.result.best.epoch).toBe(3);
    for (const saved of whole.saved) {
      expect(saved.progress.improvement.best).toBeUndefined();
      const rest = await trainInProcess(directory, {
        from: { ...saved, progress: throughFile(saved.progress) },
      });
      expect(outcomeOf(rest)).toEqual(outcomeOf(whole));
    }
  });
});

describe('the progress in a checkpoint', () => {
  it.each([NaN, Infinity, -Infinity, -0])('a checkpoint keeps the number %d of the progress', (value) => {
    const losses = { epoch: 1, trainLoss: value, validationLoss: value };
    const progress: TrainingProgress = {
      history: [losses],
      batchesDone: 3,
      lossSum: value,
      weightSum: value,
      epochSeconds: value,
      trainSeconds: value,
      maxWorkers: 2,
      improvement: { best: value, reference: value, numWithout: 1 },
      plateau: { factor: value, best: value, numBad: 1, cooldown: 0 },
      chain: '0123456789abcdef',
      best: losses,
    };
    expect(throughFile(progress)).toEqual(progress);
  });
});

/** The value as a checkpoint returns it. */
function throughFile(progress: TrainingProgress): TrainingProgress {
  return trainingProgressSchema.parse(parseExactly(stringifyExactly(progress)));
}
