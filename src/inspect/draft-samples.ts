// The part of a draft that images, arrays or a text decide.
import type { ConfigInput } from '../config/schema.ts';
import { dataError, listNames, quoteName, shorten } from '../errors.ts';
import { countOf, formatCount } from '../printable.ts';
import { sizeOf, type Shape } from '../shape.ts';
import {
  chooseForImages,
  chooseForPositions,
  chooseForRows,
  chooseForText,
  chooseTask,
} from './choose-training.ts';
import type { Task, TaskSize, Training } from './choose-training.ts';
import {
  describeClasses,
  describeTarget,
  outputsOf,
  relativeSplits,
  requireSamples,
} from './draft-choices.ts';
import type { Choices, DraftOptions } from './draft-choices.ts';
import type { FoundArrays, FoundImages, FoundText } from './find-data.ts';

/** @throws LockstepError for too few images, or images of one class */
export function chooseForImageSet(found: FoundImages, { directory }: DraftOptions): Choices {
  const { classes, imageSize, numSamples, shape, splits } = found;
  if (classes.length < 2) {
    throw dataError('E_DATA_ONE_CLASS', `the images are all of class ${quoteName(classes[0]?.value ?? '')}`, {
      help: 'put the images of each class into a folder of its own',
    });
  }
  requireSamples(numSamples, 'image');
  const training = chooseForImages(
    { ...needsOf(splits), numRows: numSamples, outputs: classes.length },
    shape,
  );
  const data: ConfigInput['data'] = {
    ...relativeSplits(splits, directory),
    ...(imageSize && { imageSize: [...imageSize] as [number, number] }),
    split: { ...sharesOf(training, splits), stratify: true },
  };
  const task: Task = { kind: 'classes', numClasses: classes.length, why: '', isUnclear: false };
  return {
    data,
    training,
    loss: 'crossEntropy',
    comments: [
      ['data.imageSize', 'height and width to which all pictures are brought'],
      ['data.split', 'each split has the same shares of the classes'],
    ],
    choices: [
      [
        'classes',
        listNames(
          classes.map(({ value, count }) => `${shorten(value)} (${formatCount(count)})`),
          10,
        ),
      ],
      ...(imageSize ? [['pictures', `brought to ${imageSize.join('x')}`] as const] : []),
    ],
    warnings: describeClasses(task, classes),
  };
}

function needsOf(splits: { readonly validation?: unknown; readonly test?: unknown }): {
  needsValidation: boolean;
  needsTest: boolean;
} {
  return { needsValidation: splits.validation === undefined, needsTest: splits.test === undefined };
}

/** The shares of the splits that have no source of their own. */
function sharesOf(
  { split }: Training,
  splits: { readonly validation?: unknown; readonly test?: unknown },
): { validation?: number; test?: number } {
  return {
    ...(splits.validation === undefined && { validation: split.validation }),
    ...(splits.test === undefined && { test: split.test }),
  };
}

/** @throws LockstepError for too few samples, or a target that cannot be predicted */
export function chooseForArrays(found: FoundArrays, { directory, task: wanted }: DraftOptions): Choices {
  const { areBytes, ignoreIndex, numSamples, positions, shape, splits, targets, vocabulary } = found;
  requireSamples(numSamples, 'sample');
  const [first] = targets;
  if (!first) throw new Error('arrays without targets were not refused');
  const task: Task =
    targets.length === 1
      ? chooseTask(first, wanted)
      : {
          kind: 'numbers',
          transform: ['standardize'],
          why: countOf(targets.length, 'number'),
          isUnclear: false,
        };
  const size = { ...needsOf(splits), numRows: numSamples, outputs: outputsOf(task, targets.length) };
  const training =
    positions === undefined ? chooseForValues(size, shape) : chooseForPositions(size, shape, vocabulary);
  const isOfTokens = training.layers[0]?.kind === 'embedding';
  const isStratified = task.kind === 'classes' && positions === undefined;
  const data: ConfigInput['data'] = {
    ...relativeSplits(splits, directory),
    ...(targets.length > 1 && { target: targets.map(({ name }) => name) }),
    ...(task.kind === 'numbers' && { targetTransform: [...task.transform] }),
    ...((areBytes || isOfTokens) && { standardize: false }),
    ...(task.kind === 'classes' && ignoreIndex !== undefined && { ignoreIndex }),
    split: { ...sharesOf(training, splits), ...(isStratified && { stratify: true as const }) },
  };
  const where = positions === undefined ? '' : `, at each of ${countOf(positions, 'position')}`;
  return {
    data,
    training,
    loss: task.kind === 'classes' ? 'crossEntropy' : 'mse',
    comments: [
      ['data.standardize', isOfTokens ? 'token ids stay as they are' : 'bytes are scaled to 0..1'],
      ['data.ignoreIndex', 'the label of padding, which does not count'],
    ],
    choices: [['target', describeTarget(first.name, task, isStratified) + where]],
    warnings: describeClasses(task, first.counts),
  };
}

function chooseForValues(size: TaskSize, shape: Shape): Training {
  if (shape.length === 3) return chooseForImages(size, shape);
  const training = chooseForRows(size, sizeOf(shape));
  if (shape.length === 1) return training;
  return { ...training, layers: [{ kind: 'flatten' }, ...training.layers] };
}

/** @throws LockstepError for a text of a few samples */
export function chooseForBytes({ numBytes, splits }: FoundText, { directory }: DraftOptions): Choices {
  const { context, ...training } = chooseForText(numBytes);
  requireSamples(Math.floor(numBytes / context), `stretch of ${context} bytes`);
  return {
    data: { ...relativeSplits(splits, directory), context, split: training.split },
    training,
    loss: 'crossEntropy',
    comments: [
      ['data.context', 'bytes of a sample: the model predicts the byte after each of them'],
      ['data.split', 'neighbouring parts of the text'],
    ],
    choices: [['target', 'the next byte, 256 classes']],
    warnings: [],
  };
}
