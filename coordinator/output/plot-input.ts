// What is to be plotted: the numbers alone, and the file each plot gets.

/** The splits that are measured and plotted. */
export type PlottedSplit = 'validation' | 'test';

/** Mean losses by epoch; the validation loss may be missing. */
export interface LossCurvesPlot {
  readonly kind: 'lossCurves';
  readonly loss: string;
  readonly epochs: readonly {
    readonly epoch: number;
    readonly train: number;
    readonly validation?: number | undefined;
  }[];
  /** Marked in the plot. */
  readonly bestEpoch?: number | undefined;
  /** What makes it the best, where that is not the loss: `greatest validation r2`. */
  readonly bestBy?: string | undefined;
}

/** A regression's rows in the target's own units. */
export interface RegressionPlot {
  readonly kind: 'predictedVsActual' | 'residuals';
  readonly split: PlottedSplit;
  /** Name of the target column, for titles and axes. */
  readonly unit: string;
  readonly actual: ArrayLike<number>;
  readonly predicted: ArrayLike<number>;
  readonly r2?: number | undefined;
  /** Tells the files of several targets apart, such as `-y2`. */
  readonly fileSuffix?: string | undefined;
}

/** Counts of a classification as [actual][predicted]. */
export interface ConfusionPlot {
  readonly kind: 'confusion';
  readonly split: PlottedSplit;
  readonly classes: readonly string[];
  readonly counts: readonly (readonly number[])[];
  readonly accuracy: number;
}

/** The curve of a classification into two classes, from (0, 0) to (1, 1). */
export interface RocPlot {
  readonly kind: 'roc';
  readonly split: PlottedSplit;
  /** Name of the class that scores stand for. */
  readonly positive: string;
  readonly falsePositiveRates: readonly number[];
  readonly truePositiveRates: readonly number[];
  readonly area: number;
}

/** One plot to draw. */
export type PlotInput = LossCurvesPlot | RegressionPlot | ConfusionPlot | RocPlot;

/** A plot's file name without extension. */
export function plotName(input: PlotInput): string {
  switch (input.kind) {
    case 'lossCurves':
      return 'loss-curves';
    case 'predictedVsActual':
      return `${input.split}-predicted-vs-actual${input.fileSuffix ?? ''}`;
    case 'residuals':
      return `${input.split}-residuals${input.fileSuffix ?? ''}`;
    case 'confusion':
      return `${input.split}-confusion`;
    case 'roc':
      return `${input.split}-roc`;
    default:
      return input satisfies never;
  }
}
