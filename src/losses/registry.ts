// The losses, every kind by its name in a config: sums of weighted losses of samples, and their gradients.
// Nothing is averaged here; whoever has all sums divides once by the weights' total.
import { z } from 'zod';
import type { Kernels } from '../kernels/kernels.ts';
import { sizeOf } from '../shape.ts';
import type { Shape } from '../shape.ts';

/** Addresses that a loss reads and writes, and the sizes of a microbatch. */
export interface LossOperands {
  /** Address of f32 [rows, shape]. */
  readonly outputs: number;
  /**
   * Address of f32 [rows, shape], or u32 class indices: [rows], or [rows, positions] for
   * outputs [positions, classes].
   */
  readonly targets: number;
  /**
   * Address of an f32 of each row, or of each label where there are labels; 0 where all weigh 1.
   * A weight of 0 leaves out.
   */
  readonly sampleWeights: number;
  readonly rows: number;
  /** Shard i holds the rows [bounds[i], bounds[i + 1]). An evaluation says nothing of shards: all rows are one. */
  readonly bounds: Uint32Array;
  /** Shape of one sample's outputs. */
  readonly shape: Shape;
  /** Address of f32 [rows, shape]: set to the gradient of each row's loss. May be `outputs`. */
  readonly dY: number;
  /** Address of f64 [rows]: set to each row's loss, the sum over its positions. */
  readonly rowLosses: number;
}

/** A loss: sums of weighted losses of samples, and their gradients. */
export interface Loss {
  run(kernels: Kernels, operands: LossOperands): void;
}

const mseSchema = z.strictObject({ kind: z.literal('mse') });

const maeSchema = z.strictObject({ kind: z.literal('mae') });

const huberSchema = z.strictObject({
  kind: z.literal('huber'),
  delta: z
    .number()
    .positive()
    .max(1e30)
    .default(1)
    .describe('Error from which huber grows linearly, in units of the transformed target'),
});

/** PyTorch's MSELoss. */
const meanSquaredError: Loss = {
  run(kernels, { outputs, targets, sampleWeights, rows, shape, dY, rowLosses }) {
    kernels.mseForwardBackward(outputs, targets, sampleWeights, rows, sizeOf(shape), dY, rowLosses);
  },
};

/** PyTorch's L1Loss. */
const meanAbsoluteError: Loss = {
  run(kernels, { outputs, targets, sampleWeights, rows, shape, dY, rowLosses }) {
    kernels.maeForwardBackward(outputs, targets, sampleWeights, rows, sizeOf(shape), dY, rowLosses);
  },
};

/** PyTorch's HuberLoss. */
function huberLoss({ delta }: z.output<typeof huberSchema>): Loss {
  return {
    run(kernels, { outputs, targets, sampleWeights, rows, shape, dY, rowLosses }) {
      kernels.huberForwardBackward(
        outputs,
        targets,
        sampleWeights,
        rows,
        sizeOf(shape),
        delta,
        dY,
        rowLosses,
      );
    },
  };
}

const crossEntropySchema = z.strictObject({
  kind: z.literal('crossEntropy'),
  labelSmoothing: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe('Share of the right class that is spread evenly over all classes'),
});

const binaryCrossEntropySchema = z.strictObject({ kind: z.literal('binaryCrossEntropy') });

/** PyTorch's CrossEntropyLoss; of outputs [positions, classes] the sum over positions. */
function crossEntropyLoss({ labelSmoothing }: z.output<typeof crossEntropySchema>): Loss {
  return {
    run(kernels, { outputs, targets, sampleWeights, rows, shape, dY, rowLosses }) {
      const classes = shape.at(-1) ?? 1;
      const positions = sizeOf(shape) / classes;
      kernels.softmaxCrossEntropyForwardBackward(
        outputs,
        targets,
        sampleWeights,
        rows,
        positions,
        classes,
        labelSmoothing,
        dY,
        rowLosses,
      );
    },
  };
}

/** PyTorch's BCEWithLogitsLoss. */
const binaryCrossEntropy: Loss = {
  run(kernels, { outputs, targets, sampleWeights, rows, shape, dY, rowLosses }) {
    kernels.binaryCrossEntropyForwardBackward(
      outputs,
      targets,
      sampleWeights,
      rows,
      sizeOf(shape),
      dY,
      rowLosses,
    );
  },
};

/** The kinds of losses; a kind alone stands for its options' defaults. */
export const LOSS_KINDS = ['mse', 'mae', 'huber', 'binaryCrossEntropy', 'crossEntropy'] as const;
/** A kind of loss. */
export type LossKind = (typeof LOSS_KINDS)[number];

/** A loss with its options. */
export const lossSchema = z.discriminatedUnion('kind', [
  mseSchema,
  maeSchema,
  huberSchema,
  binaryCrossEntropySchema,
  crossEntropySchema,
]);

/** A config's `loss`: a kind, or a mapping with the kind and its options; parsed to the latter. */
export const lossInputSchema = z.union([z.enum(LOSS_KINDS), lossSchema]).transform(resolveLoss);

/** A checked loss with all its options. */
export type LossSpec = z.output<typeof lossSchema>;
/** A loss as users write it. */
export type LossInput = LossKind | z.input<typeof lossSchema>;

/** The form with all options. */
export function resolveLoss(input: LossInput): LossSpec {
  return lossSchema.parse(typeof input === 'string' ? { kind: input } : input);
}

/** The log loss that a smoothed loss is a variant of; undefined for every other loss. */
export function unsmoothedLoss(input: LossInput | Loss): Loss | undefined {
  if (isLoss(input)) return undefined;
  const spec = resolveLoss(input);
  if (spec.kind !== 'crossEntropy' || spec.labelSmoothing === 0) return undefined;
  return crossEntropyLoss({ ...spec, labelSmoothing: 0 });
}

function isLoss(input: LossInput | Loss): input is Loss {
  return typeof input === 'object' && 'run' in input;
}

/** Makes a loss; one that a program has brought along is ready. */
export function createLoss(input: LossInput | Loss): Loss {
  if (isLoss(input)) return input;
  const spec = resolveLoss(input);
  switch (spec.kind) {
    case 'mse':
      return meanSquaredError;
    case 'mae':
      return meanAbsoluteError;
    case 'huber':
      return huberLoss(spec);
    case 'binaryCrossEntropy':
      return binaryCrossEntropy;
    case 'crossEntropy':
      return crossEntropyLoss(spec);
    default:
      return spec satisfies never;
  }
}
