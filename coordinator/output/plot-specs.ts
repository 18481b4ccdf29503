// What can be plotted of a run, the look that all plots share, and the loss curves, as a Vega-Lite
// specification: plain JSON, kept beside the pictures. Nothing is drawn here, and Vega itself is
// not loaded.
import type { TopLevelSpec } from 'vega-lite';
import type { Calibration } from '../../src/metrics/calibration.ts';
import type { ClassMetrics } from '../../src/metrics/classification.ts';
import type { PrecisionRecallCurve } from '../../src/metrics/precision-recall.ts';

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
  /** The reason why it is the best, unless that is the loss: `greatest validation r2`. */
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

/** A metric, epoch by epoch, or something of each step. */
export interface Curve {
  readonly name: string;
  readonly points: readonly CurvePoint[];
}

/** A point of a curve: x is an epoch or a step. */
export interface CurvePoint {
  readonly x: number;
  readonly y: number;
}

/** Every metric of the validation split, each in a panel of its own. */
export interface MetricCurvesPlot {
  readonly kind: 'metricCurves';
  readonly curves: readonly Curve[];
  /** Marked in every panel. */
  readonly bestEpoch?: number | undefined;
}

/** The learning rate, or the norm of the gradient, step by step. */
export interface StepCurvePlot {
  readonly kind: 'learningRate' | 'gradientNorm';
  readonly points: readonly CurvePoint[];
}

/** The errors of a regression, counted. */
export interface ResidualHistogramPlot extends Omit<RegressionPlot, 'kind'> {
  readonly kind: 'residualHistogram';
}

/** A curve for each class, or for the positive one of two. */
export interface PrecisionRecallPlot {
  readonly kind: 'precisionRecall';
  readonly split: PlottedSplit;
  readonly curves: readonly (PrecisionRecallCurve & { readonly name: string })[];
  /** Words on what is left out, if anything is. */
  readonly note?: string | undefined;
}

/** Predicted probabilities and how often they came true. */
export interface CalibrationPlot extends Calibration {
  readonly kind: 'calibration';
  readonly split: PlottedSplit;
  /** The class whose probability it is; undefined for the predicted one. */
  readonly positive?: string | undefined;
  readonly note?: string | undefined;
}

/** Precision, recall and F1 of each class. */
export interface PerClassPlot {
  readonly kind: 'perClass';
  readonly split: PlottedSplit;
  readonly classes: readonly (ClassMetrics & { readonly name: string })[];
}

/** The columns of a table, by how much worse the model gets when one is shuffled. */
export interface ImportancePlot {
  readonly kind: 'importance';
  /** The most important column comes first. */
  readonly columns: readonly { readonly name: string; readonly increase: number }[];
  /** The error that increases, such as `RMSE (price in USD)`. */
  readonly measure: string;
  /** Rows of the validation split that were shuffled, and all that it has. */
  readonly rows: number;
  readonly allRows: number;
}

/** One plot to draw. */
export type PlotInput =
  | LossCurvesPlot
  | MetricCurvesPlot
  | StepCurvePlot
  | RegressionPlot
  | ResidualHistogramPlot
  | ConfusionPlot
  | RocPlot
  | PrecisionRecallPlot
  | CalibrationPlot
  | PerClassPlot
  | ImportancePlot;

/** Colours of marks, legible on white. */
export const BLUE = '#2f6db3';
export const ORANGE = '#d9701e';
export const GREY = '#6b7280';

/** Fonts that Linux, macOS and Windows have; the picture's renderer takes the first that exists. */
const FONT = 'DejaVu Sans, Liberation Sans, Helvetica, Arial, sans-serif';

/** The fields that every specification begins with. */
export const BASE = {
  $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
  background: 'white',
  padding: 16,
  config: {
    font: FONT,
    view: { stroke: '#9ca3af' },
    title: {
      fontSize: 17,
      anchor: 'start',
      subtitleFontSize: 13,
      subtitleColor: GREY,
      offset: 14,
      subtitlePadding: 5,
    },
    axis: {
      labelFontSize: 13,
      labelFlush: false,
      titleFontSize: 14,
      titleFontWeight: 'normal',
      titlePadding: 10,
      gridColor: '#e5e7eb',
      labelColor: '#374151',
    },
    legend: { labelFontSize: 13, titleFontSize: 13, titleFontWeight: 'normal', symbolStrokeWidth: 3 },
  },
} as const satisfies Partial<TopLevelSpec>;

/** `250k` rather than `250,000`, but 0.5 rather than `500m`; and few enough ticks that they stay apart. */
const NUMBERS = {
  labelExpr:
    "abs(datum.value) >= 1e6 && abs(datum.value) < 1e9 ? format(datum.value / 1e6, '~g') + 'M'" +
    " : abs(datum.value) >= 1e4 && abs(datum.value) < 1e6 ? format(datum.value / 1e3, '~g') + 'k'" +
    " : format(datum.value, '~g')",
  tickCount: 7,
  labelOverlap: true,
} as const;

/**
 * An axis with a text of the user as its title. It is the title of the axis, not of its field:
 * Vega-Lite puts the titles of fields into expressions of its own, where a backslash begins an
 * escape.
 */
export function numbers<Title extends string | null>(title: Title): { title: Title } & typeof NUMBERS {
  return { title, ...NUMBERS };
}

/** The greatest of values may be this many times their median on a linear axis. */
const LOG_RATIO = 20;

/**
 * The scale of some values: logarithmic where all are above 0 and the greatest is at least 20 times
 * their median, for a linear one would squeeze half of them into its lowest twentieth.
 */
export function scaleOf(values: readonly number[]): { type: 'log' } | { zero: false; nice: true } {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  const [least = 0, median = 0, most = 0] = [0, sorted.length >> 1, sorted.length - 1].map((i) => sorted[i]);
  const isLog = least > 0 && most >= LOG_RATIO * median;
  // Vega-Lite complains of `zero` on a logarithmic axis, and makes that nice by itself.
  return isLog ? { type: 'log' } : { zero: false, nice: true };
}

/** Losses by epoch, with the best epoch as a dashed line. */
export function lossCurves({ epochs, loss, bestEpoch, bestBy }: LossCurvesPlot): TopLevelSpec {
  const values = epochs.flatMap(({ epoch, train, validation }) => [
    { epoch, split: 'train', loss: train },
    ...(validation === undefined ? [] : [{ epoch, split: 'validation', loss: validation }]),
  ]);
  const hasValidation = epochs.some(({ validation }) => validation !== undefined);
  const best = epochs.filter(({ epoch }) => epoch === bestEpoch);
  const reason = bestBy === undefined ? '' : ` (${bestBy})`;
  const subtitle = bestEpoch === undefined ? '' : `Dashed: the best epoch, ${bestEpoch}${reason}`;
  return {
    ...BASE,
    title: { text: 'Loss by epoch', subtitle },
    width: 600,
    height: 380,
    layer: [
      {
        data: { values: best.map(({ epoch }) => ({ epoch })) },
        mark: { type: 'rule', strokeDash: [5, 4], color: GREY },
        encoding: { x: { field: 'epoch', type: 'quantitative' } },
      },
      {
        data: { values },
        // Points: a run of one epoch has no line to draw.
        mark: { type: 'line', point: epochs.length <= 40, strokeWidth: 2 },
        encoding: {
          x: {
            field: 'epoch',
            type: 'quantitative',
            title: 'epoch',
            scale: { nice: false, zero: false },
            axis: { tickMinStep: 1, tickCount: 10, format: 'd', grid: false },
          },
          y: {
            field: 'loss',
            type: 'quantitative',
            axis: numbers(`mean loss (${loss})`),
            scale: scaleOf(values.map((value) => value.loss)),
          },
          color: {
            field: 'split',
            type: 'nominal',
            title: null,
            scale: hasValidation
              ? { domain: ['train', 'validation'], range: [BLUE, ORANGE] }
              : { domain: ['train'], range: [BLUE] },
            legend: { orient: 'top', symbolType: 'stroke', symbolSize: 300, columnPadding: 24 },
          },
        },
      },
    ],
  };
}
