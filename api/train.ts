// Training from a program: the same checks, the same run directory and the same bits as `lockstep train`.
// A config refers to samples in memory by their hashes: so it stays what a config file can hold, and the
// one beside a run's results says what it was trained on.
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { resolveConfigPaths } from '../src/config/resolve-paths.ts';
import type { DataSource } from '../src/config/data-sources.ts';
import { checkConfig } from '../src/config/validate.ts';
import { checkOptions, functionOption, metricsOption, pathOption } from '../src/config/options.ts';
import type { ConfigInput } from '../src/config/schema.ts';
import type { LossInput } from '../src/losses/registry.ts';
import { isSamples, takeSamples } from '../src/data/array/arrays.ts';
import type { ArraySet, ArraySets, Samples } from '../src/data/array/arrays.ts';
import { takeRows, type RowSet } from '../src/data/table/row-set.ts';
import { MAX_THREADS, MAX_WORKERS } from '../src/limits.ts';
import { LOG_LEVELS, LogFile, createLogger } from '../src/log.ts';
import { Screen } from '../src/screen.ts';
import type { LogLevel } from '../src/log.ts';
import { runTraining } from '../coordinator/commands/run.ts';
import type { FinishedRun, StartedRun } from '../coordinator/commands/run.ts';
import { localWorkforce } from '../coordinator/start-compute.ts';
import type { SplitMetrics } from '../src/metrics/definitions.ts';
import type { RegressionMetrics } from '../src/metrics/regression.ts';
import type { CustomMetrics } from '../coordinator/training/custom-metrics.ts';
import { StopRequest } from '../coordinator/training/train.ts';
import type { EpochRecord, StepRecord } from '../coordinator/training/train.ts';
import { gather, isRows, settled, type Rows, type Waiting } from './waiting.ts';

type DataInput = ConfigInput['data'];

/** The `data` of a config; samples, or rows of a table, may stand where a file would. */
export type TrainData = Omit<DataInput, 'train' | 'validation' | 'test'> & {
  readonly [Split in 'train' | 'validation' | 'test']?: DataSource | Samples | Rows | undefined;
};

/** A config as a program writes it: the fields of a config file, or samples or rows in memory as its `data`. */
export type TrainConfig<Loss extends LossInput = LossInput> = Omit<ConfigInput, 'data' | 'loss'> & {
  /** The samples: where they are, how they are read and split. */
  readonly data: TrainData;
  /** The loss that is minimised. */
  readonly loss: Loss;
};

/** The metrics that a loss leads to, whose task it tells; those of any task where it does not. */
export type MetricsOf<Loss extends LossInput> =
  Loss extends LossKinds<'mse' | 'mae' | 'huber'>
    ? Extract<SplitMetrics, RegressionMetrics>
    : Loss extends LossKinds<'crossEntropy'>
      ? Exclude<SplitMetrics, RegressionMetrics>
      : SplitMetrics;

type LossKinds<Kind> = Kind | { readonly kind: Kind };

/** A training under way, which its callbacks can end. */
export interface RunningTraining extends StartedRun {
  /**
   * Ends the training after the step at hand, from `onEpoch` after the epoch: `train` then resolves with
   * the best weights, as it does after early stopping.
   */
  readonly stop: () => void;
}

/** Options of `train`: workers, directories, resuming, and callbacks. */
export interface TrainOptions<Metrics = SplitMetrics> {
  /** Called before the first step; a promise that it returns is awaited. */
  readonly onStart?: ((training: RunningTraining) => unknown) | undefined;
  /** Called after each step; a promise that it returns is awaited. */
  readonly onStep?: ((record: StepRecord, training: RunningTraining) => unknown) | undefined;
  /** Called after each epoch and its validation; a promise that it returns is awaited. */
  readonly onEpoch?: ((record: EpochRecord<Metrics>, training: RunningTraining) => unknown) | undefined;
  /** Metrics of your own by their names, measured on validation and test: `custom/NAME` in records. */
  readonly metrics?: CustomMetrics | undefined;
  /** Worker processes; 0 (the default) and `auto` compute in this one. */
  readonly workers?: number | 'auto' | undefined;
  /**
   * Compute threads of this process or of each worker. The default, `auto`, is as many as prove
   * to be fastest, and one in a worker.
   */
  readonly threads?: number | 'auto' | undefined;
  /** Directory of records, plots and the model; default: a new one under `runs/`. */
  readonly runDirectory?: string | undefined;
  /**
   * Resume from a checkpoint of that directory, or of the newest run of that name: `last`, `best`
   * or a path; `auto`: the last one of `runDirectory`, or a new run there.
   */
  readonly resume?: string | undefined;
  /** Resume from an older checkpoint if the newest is damaged; default false. */
  readonly allowOlder?: boolean | undefined;
  /** Directory that paths in the config are relative to; default: the process's working directory. */
  readonly baseDirectory?: string | undefined;
  /** Least severe messages that go to stderr; default `warn`. Progress is shown from `info` on. */
  readonly logLevel?: LogLevel | undefined;
  /** Aborting ends the run between two steps; `train` then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

const optionsSchema = z.strictObject({
  workers: z
    .union([z.literal('auto'), z.int().min(0).max(MAX_WORKERS)])
    .optional()
    .describe(`a whole number from 0 to ${MAX_WORKERS}, or "auto"`),
  threads: z
    .union([z.literal('auto'), z.int().min(1).max(MAX_THREADS)])
    .optional()
    .describe(`a whole number from 1 to ${MAX_THREADS}, or "auto"`),
  runDirectory: pathOption,
  resume: pathOption.describe('"last", "best", "auto" or a path'),
  allowOlder: z.boolean().optional().describe('true or false'),
  baseDirectory: pathOption,
  metrics: metricsOption,
  onStart: functionOption,
  onEpoch: functionOption,
  onStep: functionOption,
  logLevel: z
    .enum(LOG_LEVELS)
    .optional()
    .describe(`one of ${LOG_LEVELS.join(', ')}`),
  signal: z.instanceof(AbortSignal).optional().describe('an AbortSignal'),
} satisfies Record<keyof TrainOptions, z.ZodType>);

/**
 * Trains a model as the config says, on files or on samples in memory, and tests it on its best weights.
 * @throws LockstepError if the config, the data or the run fails; its `code` is stable.
 */
export async function train<const Loss extends LossInput>(
  config: TrainConfig<Loss>,
  options: TrainOptions<MetricsOf<Loss>> = {},
): Promise<FinishedRun<MetricsOf<Loss>>> {
  checkOptions(optionsSchema, options, 'options of train');
  const { logLevel = 'warn', threads = 'auto' } = options;
  const screen = new Screen(isShown(logLevel) ? undefined : SILENT);
  const logFile = new LogFile();
  const log = createLogger({ level: logLevel, screen: new Screen(), file: logFile });
  const signal = options.signal ?? new AbortController().signal;
  const waiting: Waiting = { signal, warn: (message) => log.warn(message) };
  const { config: input, arrays } = takeArrays(await gatherRows(config, waiting));
  const checked = resolveConfigPaths(checkConfig(input), options.baseDirectory ?? process.cwd());
  const program = fileURLToPath(new URL('../bin/lockstep.js', import.meta.url));
  const callbacks = new Callbacks(options as TrainOptions, waiting);
  const run = await runTraining({
    config: checked,
    arrays,
    workforce: localWorkforce(options.workers ?? 0, threads, { program }),
    runDirectory: options.runDirectory,
    resume: options.resume,
    allowOlder: options.allowOlder,
    screen,
    logFile,
    log,
    signal,
    customMetrics: options.metrics,
    observer: callbacks,
    onStart: callbacks.onStart,
    stop: callbacks.stop,
  });
  return run as FinishedRun<MetricsOf<Loss>>;
}

/** The callbacks of a program, each awaited, with the training as their last argument. */
class Callbacks {
  readonly stop = new StopRequest();
  readonly #options: TrainOptions;
  readonly #waiting: Waiting;
  #training: RunningTraining | undefined;
  /** The callback that is being called, which may ask for the end. */
  #caller: string | undefined;

  constructor(options: TrainOptions, waiting: Waiting) {
    this.#options = options;
    this.#waiting = waiting;
  }

  readonly onStart = (run: StartedRun): Promise<void> => {
    const training = { ...run, stop: () => this.stop.make(this.#caller ?? 'program') };
    this.#training = training;
    return this.#call('onStart', () => this.#options.onStart?.(training));
  };

  onStep(record: StepRecord): Promise<void> {
    return this.#call('onStep', () => this.#options.onStep?.(record, this.#training as RunningTraining));
  }

  onEpoch(record: EpochRecord): Promise<void> {
    return this.#call('onEpoch', () => this.#options.onEpoch?.(record, this.#training as RunningTraining));
  }

  async #call(name: string, callback: () => unknown): Promise<void> {
    this.#caller = name;
    try {
      await settled(callback(), name, this.#waiting);
    } finally {
      this.#caller = undefined;
    }
  }
}

/** A screen that shows nothing. */
const SILENT = { write: () => true };

function isShown(level: LogLevel): boolean {
  return level === 'info' || level === 'debug' || level === 'trace';
}

/** The config with the rows of iterables as lists. */
async function gatherRows(input: TrainConfig, waiting: Waiting): Promise<TrainConfig> {
  if (!isMapping(input) || !isMapping(input.data)) return input;
  const { train, validation, test, ...fields } = input.data;
  const sources = {
    ...(train && { train: await gather(train, 'data.train', waiting) }),
    ...(validation && { validation: await gather(validation, 'data.validation', waiting) }),
    ...(test && { test: await gather(test, 'data.test', waiting) }),
  };
  return { ...input, data: { ...fields, ...sources } };
}

/**
 * Checks the samples of a config, and replaces them by their hashes.
 * @throws LockstepError if they are invalid.
 */
export function takeArrays(input: TrainConfig): { config: ConfigInput; arrays: ArraySets } {
  // A program in JavaScript may pass in anything, which the checks of the config will report.
  if (!isMapping(input) || !isMapping(input.data)) return { config: input as ConfigInput, arrays: new Map() };
  const { data, ...rest } = input;
  const sets = new Map<string, ArraySet | RowSet>();
  const take = (source: DataSource | Samples | Rows, name: string): DataSource => {
    if (isRows(source)) {
      const set = takeRows([...(source as Iterable<unknown>)], name);
      sets.set(set.sha256, set);
      return { rows: set.sha256 };
    }
    if (!isSamples(source)) return source;
    const set = takeSamples(source, name);
    if (!sets.has(set.sha256)) sets.set(set.sha256, set);
    return { arrays: set.sha256 };
  };
  const { train, validation, test, ...fields } = data;
  const sources = {
    ...(train && { train: take(train, 'data.train') }),
    ...(validation && { validation: take(validation, 'data.validation') }),
    ...(test && { test: take(test, 'data.test') }),
  };
  const [first] = sets.values();
  const isSet = train && first && 'features' in first && isSamples(train);
  const defaults = isSet ? defaultsFor(first, input.loss) : undefined;
  return { config: { ...rest, data: { ...defaults, ...fields, ...sources } }, arrays: sets };
}

function isMapping(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Defaults for what a table says in its header; values of images or sequences, which belong
 * together, keep their scale. Several classes of a sample are those of its positions.
 */
function defaultsFor(
  { features, shape, targetWidth, sampleWeights }: ArraySet,
  loss: LossInput,
): Partial<DataInput> {
  const targets = Array.from({ length: targetWidth }, (_, at) => `target${at + 1}`);
  const isClass = loss === 'crossEntropy' || (typeof loss === 'object' && loss?.kind === 'crossEntropy');
  return {
    target: targetWidth === 1 || isClass ? 'target' : targets,
    ...(sampleWeights && { weights: 'weight' }),
    standardize: shape.length === 1 && !(features instanceof Uint8Array),
  };
}
