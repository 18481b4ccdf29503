import { describe, expect, test } from 'vitest';
import {
  adviceFor,
  noBetterThanBaseline,
  overfitting,
  stillFalling,
  unscaledTarget,
  type AdviceInput,
} from '../../../../coordinator/output/advice.ts';
import type { EpochLosses } from '../../../../coordinator/training/training-progress.ts';
import type { SplitMetrics } from '../../../../src/metrics/definitions.ts';

/** A history from training and validation losses, epoch by epoch. */
function history(train: readonly number[], validation?: readonly number[]): EpochLosses[] {
  return train.map((trainLoss, index) => ({
    epoch: index + 1,
    trainLoss,
    validationLoss: validation?.[index],
  }));
}

function input(values: Partial<AdviceInput>): AdviceInput {
  return { epochs: 1, history: history([1]), watches: false, ...values };
}

function errors(rmse: number, r2: number): SplitMetrics {
  return { loss: rmse ** 2, rmse, mae: rmse, r2 };
}

function accuracyOf(accuracy: number): SplitMetrics {
  return { loss: 1, accuracy, perClass: [], macro: { precision: 0, recall: 0, f1: 0 } };
}

const MEAN = { kind: 'mean', rmse: 60_000, mae: 40_000, r2: 0 } as const;
const MAJORITY = { kind: 'majority', className: 'no', accuracy: 0.9 } as const;

describe('advice about the target', () => {
  const largestTarget = { name: 'price', size: 99_054 };

  test('a large target without a transform is to be standardized', () => {
    expect(unscaledTarget(input({ largestTarget, test: errors(99_000, -1.6) }))).toBe(
      'the target "price" is trained on in its own unit, in which values are about 99,054: set data.targetTransform: [standardize]',
    );
    expect(unscaledTarget(input({ largestTarget }))).toBeDefined();
    expect(unscaledTarget(input({ largestTarget, test: errors(NaN, NaN) }))).toBeDefined();
  });

  test.each([
    ['a target that is small', input({ largestTarget: { name: 'price', size: 9 } })],
    ['classes', input({ largestTarget: undefined })],
    ['a large target that the model has reached', input({ largestTarget, test: errors(20_000, 0.91) })],
  ])('no scaling is advised for %s', (_what, run) => {
    expect(unscaledTarget(run)).toBeUndefined();
  });
});

describe('advice about the baseline', () => {
  test('a regression that is no better than the mean is told so', () => {
    expect(noBetterThanBaseline(input({ baseline: MEAN, test: errors(60_000, 0) }))).toBe(
      'the model predicts no better than the mean of the training targets (rmse 60,000 against 60,000): ' +
        'check the features, and try other learning rates',
    );
    expect(noBetterThanBaseline(input({ baseline: MEAN, test: errors(NaN, NaN) }))).toBeDefined();
    expect(noBetterThanBaseline(input({ baseline: MEAN, test: errors(59_999, 0.001) }))).toBeUndefined();
  });

  test('a classification as accurate as its most frequent class is told to look at the others', () => {
    expect(noBetterThanBaseline(input({ baseline: MAJORITY, test: accuracyOf(0.9) }))).toBe(
      'the accuracy is that of always predicting class "no": look at the recall of the other classes, and ' +
        'try classWeights: balanced',
    );
  });

  test('a classification that is worse than its most frequent class is told so', () => {
    expect(noBetterThanBaseline(input({ baseline: MAJORITY, test: accuracyOf(0.85) }))).toBe(
      'the model is right less often than by always predicting class "no" (accuracy 0.8500 against 0.9000): ' +
        'check the features, and try other learning rates',
    );
  });

  test('a model that beats the baseline, or has none to beat, needs no advice about it', () => {
    expect(noBetterThanBaseline(input({ baseline: MAJORITY, test: accuracyOf(0.91) }))).toBeUndefined();
    expect(noBetterThanBaseline(input({ test: accuracyOf(0.1) }))).toBeUndefined();
    expect(noBetterThanBaseline(input({ baseline: MEAN }))).toBeUndefined();
  });

  test('several labels have no class of the baseline that could be named', () => {
    const baseline = { kind: 'majority', accuracy: 0.9 } as const;
    expect(noBetterThanBaseline(input({ baseline, test: accuracyOf(0.9) }))).toContain(
      'always predicting the most frequent value: ',
    );
  });
});

describe('advice about overfitting', () => {
  const overfitted = history([0.5, 0.4, 0.3, 0.2], [0.5, 0.4, 0.41, 0.45]);

  test('a validation loss that rises while the training loss falls is told with its epoch', () => {
    expect(overfitting(input({ epochs: 4, history: overfitted }))).toBe(
      'the validation loss rose after epoch 2, from 0.4000 to 0.4500, while the training loss fell ' +
        '(overfitting): set earlyStopping, or try dropout, weight decay or a smaller model',
    );
  });

  test.each([
    ['a run that early stopping watches', { history: overfitted, watches: true }],
    ['a rise of a few percent', { history: history([0.5, 0.4, 0.3, 0.2], [0.5, 0.4, 0.41, 0.415]) }],
    ['a rise in the last epoch alone', { history: history([0.5, 0.4, 0.3], [0.5, 0.4, 0.6]) }],
    ['a training loss that rises too', { history: history([0.5, 0.4, 0.41, 0.42], [0.5, 0.4, 0.5, 0.6]) }],
    ['a run without validation', { history: history([0.5, 0.4, 0.5, 0.6]) }],
    ['no epochs', { history: [] }],
  ])('no overfitting is seen in %s', (_what, values) => {
    expect(overfitting(input(values))).toBeUndefined();
  });
});

describe('advice about the length of a run', () => {
  test('a loss that still falls at the last epoch calls for more epochs', () => {
    const falling = history([0.5, 0.4, 0.3], [0.5, 0.45, 0.4]);
    expect(stillFalling(input({ epochs: 3, history: falling }))).toBe(
      'the validation loss still fell in the last epoch, by 11 %: train longer (epochs: 6)',
    );
    const long = Array.from({ length: 30 }, (_, epoch) => 1 / (epoch + 1));
    expect(stillFalling(input({ epochs: 30, history: history(long) }))).toBe(
      'the training loss still fell in the last 3 epochs, by 10 %: train longer (epochs: 60)',
    );
  });

  test.each([
    ['a loss that was lower before', { epochs: 3, history: history([3, 2, 1], [0.5, 0.3, 0.4]) }],
    ['a fall of less than one percent', { epochs: 3, history: history([3, 2, 1], [0.5, 0.4, 0.397]) }],
    ['a run that ended early', { epochs: 9, history: history([0.5, 0.4, 0.3]) }],
    ['a single epoch', { epochs: 1, history: history([0.5]) }],
    ['a loss that is not finite', { epochs: 2, history: history([NaN, 1]) }],
  ])('no more epochs are advised for %s', (_what, values) => {
    expect(stillFalling(input(values))).toBeUndefined();
  });
});

test('advice is at most three lines, the most useful first, and none for a run that went well', () => {
  const bad = input({
    epochs: 2,
    history: history([4, 2], [4, 2]),
    test: errors(99_000, -1.6),
    baseline: MEAN,
    largestTarget: { name: 'price', size: 99_054 },
  });
  expect(adviceFor(bad).map((text) => text.split(' ', 4).join(' '))).toEqual([
    'the target "price" is',
    'the model predicts no',
    'the validation loss still',
  ]);
  const good = input({
    test: errors(20_000, 0.9),
    baseline: MEAN,
    history: history([0.2, 0.1], [0.3, 0.31]),
  });
  expect(adviceFor(good)).toEqual([]);
});
