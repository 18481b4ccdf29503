// A config for data that nobody has described yet: everything that was chosen, with the reasons as
// comments, and the same in a few lines for the screen.
import type { ConfigInput } from '../config/schema.ts';
import { configError } from '../errors.ts';
import { countOf } from '../printable.ts';
import type { Training } from './choose-training.ts';
import type { Choices, DraftOptions } from './draft-choices.ts';
import { chooseForArrays, chooseForBytes, chooseForImageSet } from './draft-samples.ts';
import { chooseForTable } from './draft-table.ts';
import { formatDraft } from './draft-text.ts';
import type { FoundData } from './find-data.ts';

/** A config, and what to say of it. */
export interface DraftConfig {
  readonly config: ConfigInput;
  /** The text of its file, with comments. */
  readonly text: string;
  /** The choices: a word, and what was chosen. */
  readonly choices: readonly (readonly [word: string, text: string])[];
  readonly warnings: readonly string[];
}

/** Drafts a config. @throws LockstepError for a target that is missing, or cannot be predicted */
export function draftConfig(found: FoundData, options: DraftOptions): DraftConfig {
  const { name } = options;
  const { data, training, loss, comments, choices, warnings } = chooseAll(found, options);
  const { batchSize, epochs, layers, optimizer, patience, shards } = training;
  const config: ConfigInput = {
    name,
    data,
    model: { layers: [...layers] },
    loss,
    ...(layers.some(({ kind }) => kind === 'lstm') && { clip: { norm: 1 } }),
    optimizer,
    ...(found.kind !== 'text' && {
      schedule: { kind: 'plateau' as const, factor: 0.3, patience: reduceAfter(patience) },
    }),
    batchSize,
    shards,
    epochs,
    earlyStopping: { patience },
  };
  const notes = new Map([
    ['name', 'names the run directory'],
    ['loss', loss === 'mse' ? 'the mean squared error, for numbers' : 'for classes'],
    ['model', `sized for ${training.why}`],
    ['schedule', 'smaller steps once the validation loss stagnates'],
    ['batchSize', 'samples of one step'],
    ['shards', 'slices of a batch, which workers or threads share: part of the result, like the seed'],
    ['epochs', 'at most: early stopping ends the training before, and keeps the best weights'],
    ...comments,
  ]);
  return {
    config,
    text: formatDraft(config, notes),
    warnings,
    choices: [
      ...choices,
      ['model', `${layers.map(nameLayer).join(', ')}, for ${training.why}`],
      [
        'training',
        `${optimizer.kind} ${optimizer.learningRate}, batches of ${batchSize} in ${countOf(shards, 'shard')}, at most ${countOf(epochs, 'epoch')}, ends ${patience} after the best`,
      ],
    ],
  };
}

/** Epochs without progress before the learning rate falls: early stopping then leaves time for two falls. */
function reduceAfter(patience: number): number {
  return Math.max(1, Math.floor(patience / 4));
}

function chooseAll(found: FoundData, options: DraftOptions): Choices {
  if (found.kind !== 'table') refuseTarget(found, options);
  switch (found.kind) {
    case 'table':
      return chooseForTable(found, options);
    case 'images':
      return chooseForImageSet(found, options);
    case 'arrays':
      return chooseForArrays(found, options);
    case 'text':
      return chooseForBytes(found, options);
  }
}

function refuseTarget({ kind }: FoundData, { target, drop = [] }: DraftOptions): void {
  const flag = target !== undefined ? '--target' : drop.length > 0 ? '--drop' : undefined;
  if (flag === undefined) return;
  const what = {
    table: '',
    images: 'images have labels',
    arrays: 'arrays have targets',
    text: 'a text has bytes',
  }[kind];
  throw configError('E_CONFIG_TARGET', `${flag} names a column of a table: ${what}`, `leave out ${flag}`);
}

/** `dense 64 relu`, `conv2d 16`. */
function nameLayer(layer: Training['layers'][number]): string {
  const { activation, filters, rate, units } = layer as Partial<Record<string, string | number>>;
  const parts = [units, filters, rate, activation].filter((part) => part !== undefined);
  return [layer.kind, ...parts].join(' ');
}
