// What can be plotted of a run, the look that all plots share, and the loss curves, as a Vega-Lite
// specification: plain JSON, kept beside the pictures. Nothing is drawn here, and Vega itself is
// not loaded.
import type { TopLevelSpec } from 'vega-lite';

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

/** One plot to draw. */
export type PlotInput = LossCurvesPlot | RegressionPlot | ConfusionPlot | RocPlot;

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
            title: `mean loss (${loss})`,
            scale: { zero: false },
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
