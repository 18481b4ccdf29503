// The effect of schedules, averages and early stopping on a whole training, in this process.
import { describe, expect, it } from 'vitest';
import { StopRequest } from '../../coordinator/training/train.ts';
import type { ConfigInput } from '../../src/config/schema.ts';
import { trainInProcess } from '../helpers/in-process-training.ts';
import type { Training } from '../helpers/in-process-training.ts';
import { tableRun } from '../helpers/table-run.ts';

function trainTable(values: Partial<ConfigInput>): Promise<Training> {
  return trainInProcess(tableRun(values));
}

/** Steps of one size, so large that the loss soon stops improving. */
const RESTLESS = { kind: 'lion' as const, learningRate: 0.02 };

describe('a training', () => {
  it('each step uses the learning rate of the schedule', async () => {
    const { steps } = await trainTable({
      epochs: 3,
      optimizer: { kind: 'sgd', learningRate: 0.1 },
      schedule: { kind: 'exponential', gamma: 0.5, warmup: { epochs: 1, from: 0.5 } },
    });
    const rates = steps.map(({ learningRate }) => learningRate);
    expect(rates.length).toBe(39);
    expect(rates[0]).toBe(0.05);
    expect(rates.slice(13)).toEqual([...Array<number>(13).fill(0.1), ...Array<number>(13).fill(0.05)]);
  });

  it('a plateau schedule lowers the learning rate when the loss stops improving', async () => {
    const { steps, epochs } = await trainTable({
      epochs: 8,
      optimizer: RESTLESS,
      schedule: { kind: 'plateau', factor: 0.1, patience: 0, threshold: 0.5 },
    });
    const rates = epochs.map(({ step }) => steps[step - 1]?.learningRate);
    const losses = epochs.map(({ validation }) => validation?.loss ?? Number.NaN);
    let best = Infinity;
    let rate = RESTLESS.learningRate;
    const expected = losses.map((loss) => {
      const used = rate;
      if (loss < best * 0.5) best = loss;
      else rate *= 0.1;
      return used;
    });
    expect(rates.map((value) => value?.toPrecision(9))).toEqual(
      expected.map((value) => value.toPrecision(9)),
    );
    expect(new Set(rates).size).toBeGreaterThan(2);
  });

  it.each([
    ['within an epoch', { onStep: 20 }, 20],
    ['by an epoch', { onEpoch: 13 }, 13],
  ])('a training that is stopped %s and then goes back ends where it was stopped', async (_, at, last) => {
    /** Stops the training at a step, and finds out by then that it has to go back, or never does. */
    const stopped = (mayGoBack: boolean): Promise<Training> => {
      const stop = new StopRequest();
      const stopAt =
        (name: 'onStep' | 'onEpoch') =>
        ({ step }: { readonly step: number }): void => {
          if (step === (at as Record<string, number>)[name]) stop.make(name);
        };
      const goesBack = (): boolean => mayGoBack && stop.by !== undefined;
      const disturbance = { stop, goesBack, onStep: stopAt('onStep'), onEpoch: stopAt('onEpoch') };
      return trainInProcess(tableRun({ epochs: 3 }), { ...disturbance, isSaving: true });
    };
    const [straight, back] = [await stopped(false), await stopped(true)];
    const numbers = Array.from({ length: last }, (_, index) => index + 1);
    expect(straight.steps.map(({ step }) => step)).toEqual(numbers);
    expect(back.steps.map(({ step }) => step)).toEqual([...numbers, ...numbers.slice(1)]);
    expect(back.weightsSha256).toBe(straight.weightsSha256);
    expect(back.result).toMatchObject({ steps: last, stoppedBy: Object.keys(at)[0] });
  });

  it('early stopping ends a training with the best weights or, if told to, with the last', async () => {
    const values = { epochs: 50, optimizer: RESTLESS };
    const stopping = { patience: 2, minDelta: 1e-3 };
    const best = await trainTable({ ...values, earlyStopping: stopping });
    const last = await trainTable({ ...values, earlyStopping: { ...stopping, restoreBest: false } });
    const { epochs } = best;
    const { stoppedEarly } = best.result;
    expect(epochs.length).toBeLessThan(50);
    expect([stoppedEarly, last.result.stoppedEarly]).toEqual([epochs.length, epochs.length]);
    expect(best.result.steps).toBe(13 * epochs.length);
    const losses = epochs.map(({ validation }) => validation?.loss as number);
    expect(best.result.validation?.metrics.loss).toBe(Math.min(...losses));
    expect(last.result.validation?.metrics.loss).toBe(losses.at(-1));
    expect(last.result.best.epoch).toBe(epochs.length);
  });

  it('a training that runs to its end is not reported as stopped early', async () => {
    const { result } = await trainTable({ earlyStopping: { patience: 2 } });
    expect(result.stoppedEarly).toBeUndefined();
    expect(result.history.length).toBe(2);
  });

  it('averaged weights are measured and saved without changing the steps', async () => {
    const averaged = await trainTable({ ema: { decay: 0.9 } });
    const plain = await trainTable({});
    const lossesOf = ({ steps }: Training): number[] => steps.map(({ loss }) => loss);
    expect(lossesOf(averaged)).toEqual(lossesOf(plain));
    const kept = averaged.epochs[averaged.result.best.epoch - 1];
    expect(averaged.result.validation?.metrics).toEqual(kept?.validation);
    expect(averaged.weightsSha256).not.toBe(plain.weightsSha256);
  });

  it('a training that monitors a metric which validation lacks ends before its first epoch', async () => {
    const steps = trainTable({ earlyStopping: { monitor: 'accuracy' } });
    await expect(steps).rejects.toMatchObject({
      code: 'E_MONITOR',
      message: 'earlyStopping.monitor: validation measures no "accuracy", which needs classes',
      help: 'it measures loss, rmse, mae, r2, mape',
    });
  });
});
