// The options of `createEngine`: fields of a config, checked as those of a config are, with an input shape in
// place of data.
import { z } from 'zod';
import { checkModelRules } from '../src/config/rules.ts';
import type { Config, ConfigInput } from '../src/config/schema.ts';
import { checkOptions } from '../src/config/options.ts';
import { checkConfig } from '../src/config/validate.ts';
import { MAX_SAMPLE_DIMENSIONS } from '../src/limits.ts';
import type { LayerInput } from '../src/layers/registry.ts';
import type { LossInput } from '../src/losses/registry.ts';
import type { OptimizerInput } from '../src/optimizer/registry.ts';
import type { Shape } from '../src/shape.ts';
import type { CustomLoss, LikeLoss, LossLike } from './custom-loss.ts';
import type { MetricsOf } from './train.ts';

/** A loss: that of a config, or one of your own. */
export type EngineLoss = LossInput | CustomLoss;

/** The metrics that an engine with this loss measures. */
export type EngineMetrics<Loss extends EngineLoss> =
  Loss extends LossLike<infer Like> ? MetricsOf<Like> : Loss extends LossInput ? MetricsOf<Loss> : never;

/** The parts of an engine: fields of a config, with its defaults (docs/config.md), and the shape of a sample. */
export interface EngineOptions<Loss extends EngineLoss = EngineLoss> {
  /** The layers, as `sequential` lists them. */
  readonly model: {
    /** Layers, one after the other. */
    readonly layers: LayerInput[];
    /** Path of a file of safetensors with the weights to start from; default: they are drawn. */
    readonly init?: string | undefined;
  };
  /** Shape of one sample: [values], [positions, values] or [channels, height, width]. */
  readonly inputShape: Shape;
  /** The loss: of a config, or of your own. */
  readonly loss: Loss;
  /** Keys the draws of first weights, dropout and augmentation, from 0 to 2^32 - 1; default 0. */
  readonly seed?: number | undefined;
  /** The optimizer with its settings; default Adam with a learning rate of 0.001. */
  readonly optimizer?: OptimizerInput | undefined;
  /** Limits of the mean gradient, of which the norm comes first; default: none. */
  readonly clip?:
    | {
        /** The largest Euclidean norm of the whole gradient. */
        readonly norm?: number | undefined;
        /** The largest magnitude of an element. */
        readonly value?: number | undefined;
      }
    | undefined;
  /** Keeps a moving average of the weights; default: none. */
  readonly ema?:
    | {
        /** Share of the average that a step keeps; default 0.999. */
        readonly decay?: number | undefined;
        /** True: the first steps keep less, so that the first weights are soon forgotten. The default. */
        readonly warmup?: boolean | undefined;
      }
    | undefined;
  /** Most samples of a batch; default 256. With `batchNorm`, shorter ones have fewer shards. */
  readonly batchSize?: number | undefined;
  /** Slices of a batch, which the bits depend on; default 8, or fewer with `batchNorm`. */
  readonly shards?: number | undefined;
  /** Rounding of products: `fused` is faster where there is relaxed SIMD; default `strict`. */
  readonly numerics?: 'strict' | 'fused' | undefined;
  /** Rounding of sums of gradients, as if they travelled to a coordinator. */
  readonly wire?:
    | {
        /** The form of sums; default `f32`. */
        readonly gradients?: 'f32' | 'bf16' | undefined;
        /** Most groups of a batch whose sums are rounded, a power of two (bf16 only). */
        readonly groups?: number | undefined;
      }
    | undefined;
  /** Metrics that `evaluate` has besides the standard ones of the task. */
  readonly metrics?:
    | {
        /** The likeliest classes among which a row counts as found; default 5 above 5 classes. */
        readonly topK?: number | undefined;
      }
    | undefined;
  /** Names a saved model; default `engine`. */
  readonly name?: string | undefined;
}

/** The options that are fields of a config too. */
const FIELDS = [
  ...(['model', 'loss', 'seed', 'optimizer', 'clip', 'ema', 'batchSize', 'shards'] as const),
  ...(['numerics', 'wire', 'metrics', 'name'] as const),
] satisfies Exclude<keyof EngineOptions, 'inputShape'>[];

const optionsSchema = z.strictObject({
  // Checked as fields of a config, once it is known that there are no others.
  ...Object.fromEntries(FIELDS.map((name) => [name, z.unknown().optional()])),
  inputShape: z
    .array(z.int().min(1))
    .min(1)
    .max(MAX_SAMPLE_DIMENSIONS)
    .describe(`a list of 1 to ${MAX_SAMPLE_DIMENSIONS} sizes of one sample, such as [8] or [3, 32, 32]`),
});

const LIKE_LOSSES = ['mse', 'binaryCrossEntropy', 'crossEntropy'] as const satisfies readonly LikeLoss[];

const lossSchema = z.strictObject({
  like: z.enum(LIKE_LOSSES).describe('"mse", "binaryCrossEntropy" or "crossEntropy"'),
  compute: z.custom((value) => typeof value === 'function').describe('a function'),
} satisfies Record<keyof CustomLoss, z.ZodType>);

/** The options of an engine, checked: a config without data, and a loss of a program's own, if that is one. */
export interface CheckedOptions {
  readonly config: Config;
  readonly inputShape: Shape;
  readonly ownLoss: CustomLoss | undefined;
}

const PLACE = 'options of createEngine';

/** @throws LockstepError with all that is wrong with the options */
export function checkEngineOptions(options: EngineOptions): CheckedOptions {
  checkOptions(optionsSchema, options, PLACE);
  const { inputShape, loss, name = 'engine', ...fields } = options;
  const ownLoss = isCustom(loss) ? loss : undefined;
  if (ownLoss) checkOptions(lossSchema, ownLoss, 'loss of createEngine');
  const input: ConfigInput = {
    ...fields,
    name,
    loss: ownLoss ? ownLoss.like : (loss as LossInput),
    data: {},
  };
  const config = checkConfig(input, PLACE, checkModelRules);
  return { config, inputShape: [...inputShape], ownLoss };
}

function isCustom(loss: EngineLoss): loss is CustomLoss {
  return typeof loss === 'object' && loss !== null && ('compute' in loss || 'like' in loss);
}
