// Going on from any step of a training: the same weights as without an interruption, and the same way there.
import { describe, expect, it } from 'vitest';
import { trainInProcess } from '../helpers/in-process-training.ts';
import type { Training } from '../helpers/in-process-training.ts';
import { tableRun } from '../helpers/table-run.ts';

/** Up to 20 epochs of 4 steps: averages, patience and learning rates that depend on what validation said before. */
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

describe('a training that goes on', () => {
  it('after any step, and after any epoch, comes to the same weights and the same figures', async () => {
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
});
