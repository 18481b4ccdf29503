// Every field of a config file: its type, rule, default and the text that editors show.
// Rules between fields are in rules.ts and data-rules.ts; those that need the data are in src/data.
import { z } from 'zod';
import { OBJECT_URL } from './object-url.ts';
import { NUMERICS } from '../kernels/kernels.ts';
import { MAX_BATCH_SIZE, MAX_EPOCHS, MAX_FOLDS, MAX_LAYERS, MAX_SHARDS } from '../limits.ts';
import { layerSchema } from '../layers/registry.ts';
import { lossInputSchema } from '../losses/registry.ts';
import { defaultGroups, defaultShards } from '../model/shards.ts';
import { DATE_FORMATS } from '../dates.ts';
import { emaSchema } from '../optimizer/average.ts';
import { optimizerSchema } from '../optimizer/registry.ts';
import { scheduleSchema } from '../schedule/schedule.ts';

const fraction = z.number().min(0).max(1);
const path = z.string().min(1).max(4096);
const weight = z.number().min(0).max(1e9);

const imageSource = z
  .strictObject({
    images: path.describe('IDX file of unsigned bytes [count, height, width], plain or gzip'),
    labels: path.describe('IDX file of unsigned bytes [count], plain or gzip'),
  })
  .describe('One set of labelled images');

const folderSource = z
  .strictObject({ folder: path.describe('Folder with a folder of pictures for each class') })
  .describe('One set of pictures in folders');

const textSource = z
  .strictObject({ text: path.describe('Any text, plain or gzip: its bytes are the samples') })
  .describe('One text');

const npySource = z
  .strictObject({
    npz: path.optional().describe('.npz archive; the other fields then name arrays in it'),
    features: path.describe('.npy file [samples, sizes of a sample]'),
    targets: path.describe('.npy file of numbers or class indices, for each sample'),
    weights: path.optional().describe('.npy file of the weights of the samples'),
  })
  .describe('One set of samples in files of NumPy');

const arraySource = z
  .strictObject({
    arrays: z
      .string()
      .regex(/^[0-9a-f]{64}$/, '64 hexadecimal digits')
      .describe('SHA-256 of samples that a program passed in: the config of its run names them by it'),
  })
  .describe('Arrays in memory');

const rowSource = z
  .strictObject({
    rows: z
      .string()
      .regex(/^[0-9a-f]{64}$/, '64 hexadecimal digits')
      .describe('SHA-256 of rows that a program passed in: the config of its run names them by it'),
  })
  .describe('Rows of a table in memory');

/** A path, a pattern such as `part-*.csv`, or a list of them: their rows are one table. */
const table = z.union([path, z.array(path).min(1).max(10_000)]);

const source = z.union([
  ...table.options,
  imageSource,
  folderSource,
  textSource,
  npySource,
  arraySource,
  rowSource,
]);

/** Rules for missing cells: `mean` fills numbers in, `category` makes a category of its own among texts. */
const missingRule = z.enum(['error', 'mean', 'category', 'drop-row']);

const missingRules = z
  .strictObject({
    default: missingRule.default('error').describe('The rule for all other columns'),
    columns: z.record(z.string(), missingRule).default({}).describe('Rules for columns, by their names'),
  })
  .describe('A rule for each column');

const standardizeColumn = z
  .boolean()
  .optional()
  .describe('Scale it to mean 0 and deviation 1; default: data.standardize');

/** The rule for a column whose cells do not say how it is read. */
const columnRule = z.union([
  z
    .enum(['categorical', 'boolean', 'date'])
    .transform((kind) => (kind === 'date' ? { kind, format: DATE_FORMATS[0] } : { kind })),
  z.strictObject({ kind: z.literal('categorical') }),
  z.strictObject({ kind: z.literal('boolean') }),
  z.strictObject({ kind: z.literal('number'), standardize: standardizeColumn }),
  z.strictObject({
    kind: z.literal('date'),
    format: z.enum(DATE_FORMATS).default('ymd').describe('Order of year, month and day'),
    standardize: standardizeColumn,
  }),
  z.strictObject({
    kind: z.literal('ordinal'),
    order: z.array(z.string()).min(2).max(1000).describe('Its texts, from the lowest to the highest'),
    standardize: standardizeColumn,
  }),
  z.strictObject({
    kind: z.literal('hash'),
    buckets: z.int().min(2).max(65_536).describe('Features that its texts share, each by its hash'),
  }),
  z.strictObject({
    kind: z.literal('embedding'),
    units: z.int().min(1).max(1024).describe('Size of the learned vector of a text'),
    minRows: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(2)
      .describe('Training rows that a text needs for a vector of its own; the others share one'),
  }),
]);

const split = z
  .strictObject({
    train: fraction.optional().describe('Share of rows to train on; default: what the other shares leave'),
    validation: fraction.default(0.1).describe('Share of rows measured after every epoch'),
    test: fraction
      .optional()
      .describe('Share of rows measured once, at the end; default 0.1 without a test file'),
    fold: z
      .strictObject({
        number: z.int().min(1).max(MAX_FOLDS).describe('The part that is the test split, from 1'),
        of: z.int().min(2).max(MAX_FOLDS).describe('Number of equal parts'),
      })
      .optional()
      .describe('The part of the rows that is the test split, as `lockstep train --folds` sets it'),
    stratify: z.literal(true).optional().describe('Give each split the same shares of the classes'),
    group: z
      .string()
      .min(1)
      .optional()
      .describe(
        'Column (tables only) whose equal values stay together in one split; no feature unless listed',
      ),
    time: z
      .string()
      .min(1)
      .optional()
      .describe('Column (tables only) of numbers or dates: the latest rows are the test split'),
  })
  .describe('Shares of a seeded, disjoint split');

/** The characters that may separate groups of digits. */
export const THOUSANDS = [',', '.', ' ', "'", '_'] as const;

/** The section `data`. */
export const dataSchema = z.strictObject({
  file: table
    .optional()
    .describe(
      'One table that `split` divides: CSV, TSV, JSON, Parquet or Arrow; a pattern or a list names several files of it',
    ),
  train: source.optional().describe('Training table, images or text'),
  validation: source
    .optional()
    .describe('Validation table, images or text; default: taken from train by `split`'),
  test: source.optional().describe('Test table, images or text; default: taken from train by `split`'),
  target: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .optional()
    .describe('Column or columns to predict (tables only)'),
  targetTransform: z
    .array(z.enum(['log', 'standardize']))
    .max(2)
    .default([])
    .describe('Applied to regression targets in this order; metrics are reported in both units'),
  targetUnit: z
    .string()
    .min(1)
    .max(32)
    .optional()
    .describe('Unit of a regression target, such as USD: named on the axes of plots'),
  features: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('Columns to learn from; default: all others'),
  drop: z.array(z.string().min(1)).default([]).describe('Columns to leave out'),
  categorical: z
    .array(z.string().min(1))
    .default([])
    .describe('Columns to one-hot encode although they hold numbers'),
  columns: z
    .record(z.string(), columnRule)
    .default({})
    .describe(
      'How feature columns are read, by their names: categorical, boolean, date, ordinal, hash, embedding, number',
    ),
  missing: z
    .union([missingRule, missingRules])
    .default('error')
    .describe(
      'What happens to a cell without a value: error, mean (of the column; among texts a category of its own), category, ' +
        'drop-row; or a mapping of rules by column. Rows without a target are left out, unless it is error',
    ),
  missingTokens: z
    .array(z.string().max(1000))
    .max(1000)
    .optional()
    .describe(
      'Cells without a value, besides empty ones, unless they are quoted; default: ?, -, NA, N/A, NaN, null and similar',
    ),
  standardize: z
    .boolean()
    .default(true)
    .describe('Scale numeric features to mean 0 and deviation 1 of the training split'),
  stream: z
    .boolean()
    .default(false)
    .describe(
      'Keep features in a file, and send workers the rows of each task: for tables and images larger than memory; ' +
        'the results are the same',
    ),
  delimiter: z
    .union([z.string().length(1), z.literal('spaces')])
    .optional()
    .describe(
      'One character, or spaces: any number of spaces and tabs; default: tab for .tsv files, else comma',
    ),
  decimal: z.enum(['.', ',']).default('.').describe('Decimal separator of numbers'),
  thousands: z.enum(THOUSANDS).optional().describe('Separator of groups of three digits; default: none'),
  header: z.boolean().default(true).describe('Whether the first line names the columns; if not: c1, c2, ...'),
  classes: z.int().min(2).max(65536).optional().describe('Number of classes; default: counted in the data'),
  imageSize: z
    .tuple([z.int().min(1).max(4096), z.int().min(1).max(4096)])
    .optional()
    .describe(
      'Height and width to which pictures are brought (folders only); default: their own, if all have one',
    ),
  channels: z
    .union([z.literal(1), z.literal(3)])
    .optional()
    .describe('1: grey, 3: red, green and blue (folders only); default: 1 if all pictures are grey'),
  context: z
    .int()
    .min(2)
    .max(65_536)
    .optional()
    .describe(
      'Bytes of a sample (text only, required there): the model predicts the byte after each of them',
    ),
  stride: z
    .int()
    .min(1)
    .max(65_536)
    .optional()
    .describe('Bytes from one training sample to the next (text only); default: context, without overlap'),
  weights: z
    .string()
    .min(1)
    .optional()
    .describe('Column of sample weights, at least 0 (tables only); default: all weigh 1'),
  ignoreIndex: z
    .int()
    .min(-2_147_483_648)
    .max(2_147_483_647)
    .optional()
    .describe('Label that does not count in losses and metrics'),
  split: split.prefault({}),
  shuffle: z.boolean().default(true).describe('Draw a new sample order each epoch; false keeps file order'),
});

const model = z.strictObject({
  layers: z.array(layerSchema).min(1).max(MAX_LAYERS),
  init: path.optional().describe('Safetensors file of weights to start from, named as a PyTorch Sequential'),
});

const clip = z
  .strictObject({
    norm: z.number().positive().optional().describe('Largest Euclidean norm of the whole mean gradient'),
    value: z.number().positive().optional().describe('Largest magnitude of one of its elements'),
  })
  .describe('Limits of the gradient; the norm is clipped first');

const earlyStopping = z
  .strictObject({
    patience: z.int().min(1).default(10).describe('Epochs without improvement after which training stops'),
    minDelta: z.number().min(0).default(0).describe('An improvement is a change by more than this'),
    monitor: z
      .string()
      .min(1)
      .default('loss')
      .describe('The validation metric that decides when to stop and which weights are the best'),
    mode: z
      .enum(['min', 'max'])
      .optional()
      .describe(
        'Whether lower or higher is better; default: as the metric is defined (docs/config.md, Metrics)',
      ),
    restoreBest: z.boolean().default(true).describe('Keep the best weights; false: those of the last epoch'),
  })
  .describe('Ends training once it no longer improves');

/** The form of gradients on their way to the coordinator. */
const wire = z
  .strictObject({
    gradients: z
      .enum(['f32', 'bf16'])
      .default('f32')
      .describe('bf16 rounds the sums of groups of shards to bfloat16, so that they take half the bytes'),
    groups: z
      .int()
      .min(1)
      .max(MAX_SHARDS)
      .optional()
      .describe('Most groups of a batch, a power of two (bf16 only); default: as many as shards, up to 8'),
  })
  .describe('How sums of gradients travel: part of the identity of the result, like shards');

/** The ways to treat steps that a liar may have spoilt; the first is the default. */
const LIE_POLICIES = ['rollback', 'repair', 'stop'] as const;

/** Settings of the audit; a number by itself is the share. */
const audit = z
  .union([
    fraction.transform((share) => ({ share, onLie: LIE_POLICIES[0] })),
    z.strictObject({
      share: fraction
        .default(0)
        .describe('Share of sums that a second worker computes, to compare the bytes'),
      onLie: z
        .enum(LIE_POLICIES)
        .default(LIE_POLICIES[0])
        .describe(
          'What happens to unchecked steps in which a lying worker took part: rollback takes them again, repair keeps them, stop ends the run',
        ),
    }),
  ])
  .describe('Checks of the workers: a share of all sums is computed twice');

const checkpoint = z
  .strictObject({
    everySteps: z
      .int()
      .min(1)
      .optional()
      .describe('Steps between two checkpoints; default: only epochs and the clock decide'),
    everyEpochs: z.int().min(1).default(1).describe('Epochs between two checkpoints'),
    everySeconds: z
      .number()
      .min(1)
      .max(86_400)
      .default(300)
      .describe('Longest time between two checkpoints, within an epoch too'),
    keep: z
      .int()
      .min(1)
      .max(1000)
      .default(3)
      .describe('Newest checkpoints that are kept, besides the best one'),
    mirror: z
      .string()
      .max(2048)
      .regex(OBJECT_URL, 's3://BUCKET/PREFIX')
      .optional()
      .describe(
        'Object storage to which checkpoints and results are copied, s3://BUCKET/PREFIX of this run alone',
      ),
  })
  .describe(
    'When a run saves everything needed to resume after a crash; the epoch with the best weights is always saved',
  );

const wandb = z.strictObject({
  project: z.string().min(1).max(128).describe('Weights & Biases project'),
  entity: z.string().min(1).max(128).optional().describe('User or team; default: that of the API key'),
  tags: z.array(z.string().min(1)).default([]).describe('Labels to find the run by'),
});

const mlflow = z.strictObject({
  uri: z.string().min(1).max(2048).optional().describe('Address of the server; default: MLFLOW_TRACKING_URI'),
  experiment: z
    .string()
    .min(1)
    .max(128)
    .optional()
    .describe('Experiment; default: MLFLOW_EXPERIMENT_NAME, or the name of the run'),
});

const prometheus = z.strictObject({
  port: z.int().min(0).max(65_535).describe('Port of the page /metrics; 0 picks a free one'),
  host: z.string().min(1).max(255).default('127.0.0.1').describe('Address to listen on'),
});

/** The fields of the config file, each by itself. */
const configFields = z
  .strictObject({
    name: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'letters, digits, ".", "_" and "-" only, at most 64')
      .describe('Names the run directory'),
    seed: z.int().min(0).max(4_294_967_295).default(0).describe('Seeds weights, split and sample order'),
    data: dataSchema,
    model,
    loss: lossInputSchema.describe(
      'What is minimised: a kind, or a mapping of kind and options. mse, mae, huber for numbers, crossEntropy for ' +
        'classes, binaryCrossEntropy for yes or no',
    ),
    classWeights: z
      .union([z.literal('balanced'), z.array(weight).min(2), z.record(z.string(), weight)])
      .optional()
      .describe(
        'Weights of classes in the loss: balanced, a list in their order, or by name; default: all 1',
      ),
    metrics: z
      .strictObject({
        topK: z
          .int()
          .min(2)
          .max(65_535)
          .optional()
          .describe('Rows count as found if their class is among the k likeliest; default 5 above 5 classes'),
      })
      .prefault({})
      .describe('What is measured besides the standard metrics of the task'),
    optimizer: optimizerSchema.prefault({}),
    schedule: scheduleSchema.prefault({}),
    clip: clip.prefault({}),
    ema: emaSchema
      .optional()
      .describe(
        'Measures and keeps a moving average of the weights; training continues with the weights themselves',
      ),
    earlyStopping: earlyStopping.optional(),
    batchSize: z
      .int()
      .min(1)
      .max(MAX_BATCH_SIZE)
      .default(256)
      .describe('Samples of one step, over all workers'),
    shards: z
      .int()
      .min(1)
      .max(MAX_SHARDS)
      .optional()
      .describe(
        'Fixed slices of a batch: part of the identity of the result, like the seed; ' +
          'default 8, with batchNorm as many, up to 8, as can have 32 samples each',
      ),
    numerics: z
      .enum(NUMERICS)
      .default('strict')
      .describe(
        'Rounding of products: fused is faster, where relaxed SIMD is available; part of the identity of the result',
      ),
    wire: wire.prefault({}),
    audit: audit.prefault({}),
    epochs: z.int().min(1).max(MAX_EPOCHS).default(10).describe('Passes over the training split'),
    checkpoint: z
      .union([z.literal(false), checkpoint])
      .prefault({})
      .describe('When to save; false: never'),
    plots: z.boolean().default(true).describe('Draw loss curves and plots of the splits at the end'),
    tracking: z
      .strictObject({
        csv: z.boolean().default(false).describe('Writes metrics.csv'),
        tensorboard: z.boolean().default(false).describe('Writes event files for TensorBoard'),
        mlflow: mlflow.optional(),
        prometheus: prometheus.optional(),
        wandb: wandb.optional(),
      })
      .prefault({})
      .describe('Where metrics go besides the run directory'),
  })
  .describe('A Lockstep training run');

/** The config file. `z.input` is what a user writes, `z.output` is the resolved config. */
export const configSchema = configFields.transform(
  // A resolved config has its fields in the order of the schema, whichever of them were given.
  ({ numerics, wire, audit, epochs, checkpoint, plots, tracking, ...config }) => {
    const shards = config.shards ?? defaultShards(config);
    return {
      ...config,
      data: withArrayNames(config.data),
      shards,
      numerics,
      wire: wire.gradients === 'bf16' ? { ...wire, groups: wire.groups ?? defaultGroups(shards) } : wire,
      ...{ audit, epochs, checkpoint, plots, tracking },
    };
  },
);

/** Gives the columns of arrays in files the names that a table has in its header. */
function withArrayNames(data: z.output<typeof dataSchema>): z.output<typeof dataSchema> {
  const { train, target, weights } = data;
  if (typeof train !== 'object' || !('features' in train)) return data;
  const weightsName = weights ?? (train.weights === undefined ? undefined : 'weight');
  return { ...data, target: target ?? 'target', ...(weightsName !== undefined && { weights: weightsName }) };
}

export type Config = z.output<typeof configSchema>;
/** A config as a config file has it; docs/config.md has every field. Defaults may be left out. */
export type ConfigInput = z.input<typeof configSchema>;
export type DataConfig = Config['data'];
export type MissingRule = z.output<typeof missingRule>;
export type ColumnRule = z.output<typeof columnRule>;
export type CheckpointConfig = Exclude<Config['checkpoint'], false>;
export type EarlyStoppingConfig = NonNullable<Config['earlyStopping']>;
