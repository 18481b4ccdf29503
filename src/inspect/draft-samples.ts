// The part of a draft that images, arrays or a text decide.
import type { ConfigInput } from '../config/schema.ts';
import { dataError, listNames, quoteName, shorten } from '../errors.ts';
import { countOf, formatCount } from '../printable.ts';
import { sizeOf } from '../shape.ts';
import { chooseForImages, chooseForRows, chooseForText, chooseTask } from './choose-training.ts';
import type { Task, Training } from './choose-training.ts';
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
  const { areBytes, numSamples, shape, splits, targets } = found;
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
  const isImage = shape.length === 3;
  const training = isImage ? chooseForImages(size, shape) : chooseForRows(size, sizeOf(shape));
  const flat: Training =
    shape.length > 1 && !isImage
      ? { ...training, layers: [{ kind: 'flatten' }, ...training.layers] }
      : training;
  const data: ConfigInput['data'] = {
    ...relativeSplits(splits, directory),
    ...(targets.length > 1 && { target: targets.map(({ name }) => name) }),
    ...(task.kind === 'numbers' && { targetTransform: [...task.transform] }),
    ...(areBytes && { standardize: false }),
    split: { ...sharesOf(training, splits), ...(task.kind === 'classes' && { stratify: true as const }) },
  };
  return {
    data,
    training: flat,
    loss: task.kind === 'classes' ? 'crossEntropy' : 'mse',
    comments: [['data.standardize', 'bytes are scaled to 0..1']],
    choices: [['target', describeTarget(first.name, task)]],
    warnings: describeClasses(task, first.counts),
  };
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
