// Vega-Lite specifications of the plots of a measured split: a point for each row of a regression,
// in the target's own unit; counts and a curve of a classification.
import type { TopLevelSpec } from 'vega-lite';
import { formatCount, formatMetric } from '../../src/printable.ts';
import { BASE, BLUE, GREY, numbers, ORANGE } from './plot-specs.ts';
import type { ConfusionPlot, RegressionPlot, ResidualHistogramPlot, RocPlot } from './plot-specs.ts';

/** More points hide each other and bloat the SVG. */
const MAX_SCATTER_POINTS = 2000;
/** More points than pixels bloat the SVG. */
const MAX_CURVE_POINTS = 1000;
/** Cells get too small for their numbers. */
const MAX_CLASSES_WITH_COUNTS = 20;

interface Point {
  readonly actual: number;
  readonly predicted: number;
}

/** Rows at a fixed stride, so that the same data give the same points. */
function samplePoints({ actual, predicted }: RegressionPlot): Point[] {
  const count = Math.min(actual.length, MAX_SCATTER_POINTS);
  const points = Array.from({ length: count }, (_, i) => {
    const row = Math.floor((i * actual.length) / count);
    return { actual: actual[row]!, predicted: predicted[row]! };
  });
  return points.filter(({ actual, predicted }) => Number.isFinite(actual) && Number.isFinite(predicted));
}

function pointsSubtitle(shown: number, { actual, r2 }: RegressionPlot): string {
  const rows = `${formatCount(shown)} of ${formatCount(actual.length)} rows`;
  return r2 === undefined ? rows : `R² ${formatMetric(r2)} over all rows; ${rows} shown`;
}

/** Predicted against actual values, with the line y = x. */
export function predictedVsActual(input: RegressionPlot): TopLevelSpec {
  const points = samplePoints(input);
  const ends = points.flatMap(({ actual, predicted }) => [actual, predicted]);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  // The same scale on both axes, so that y = x is the diagonal.
  const scale = { domain: ends.length > 0 ? [low, high] : [0, 1], nice: true, zero: false };
  return {
    ...BASE,
    title: {
      text: `Predicted against actual ${input.unit} (${input.split})`,
      subtitle: pointsSubtitle(points.length, input),
    },
    width: 560,
    height: 560,
    layer: [
      {
        data: { values: points },
        mark: { type: 'circle', size: 28, opacity: 0.35, color: BLUE },
        encoding: {
          x: { field: 'actual', type: 'quantitative', scale, axis: numbers(`${input.unit} (actual)`) },
          y: { field: 'predicted', type: 'quantitative', scale, axis: numbers(`${input.unit} (predicted)`) },
        },
      },
      {
        data: { values: ends.length > 0 ? [{ at: low }, { at: high }] : [] },
        mark: { type: 'line', color: ORANGE, strokeWidth: 2 },
        encoding: { x: { field: 'at', type: 'quantitative' }, y: { field: 'at', type: 'quantitative' } },
      },
      {
        data: { values: ends.length > 0 ? [{ at: high }] : [] },
        mark: { type: 'text', text: 'y = x', align: 'right', dx: -14, dy: 4, fontSize: 13, color: ORANGE },
        encoding: { x: { field: 'at', type: 'quantitative' }, y: { field: 'at', type: 'quantitative' } },
      },
    ],
  };
}

/** Errors against predictions, in the unit of the target. */
export function residuals(input: RegressionPlot): TopLevelSpec {
  const points = samplePoints(input);
  return {
    ...BASE,
    title: {
      text: `Residuals of ${input.unit} (${input.split})`,
      subtitle: pointsSubtitle(points.length, input),
    },
    width: 600,
    height: 400,
    layer: [
      {
        data: {
          values: points.map(({ actual, predicted }) => ({ predicted, residual: actual - predicted })),
        },
        mark: { type: 'circle', size: 28, opacity: 0.35, color: BLUE },
        encoding: {
          x: {
            field: 'predicted',
            type: 'quantitative',
            scale: { zero: false },
            axis: numbers(`${input.unit} (predicted)`),
          },
          y: {
            field: 'residual',
            type: 'quantitative',
            axis: numbers(`${input.unit} (actual − predicted)`),
          },
        },
      },
      {
        data: { values: [{ zero: 0 }] },
        mark: { type: 'rule', color: ORANGE, strokeWidth: 2 },
        encoding: { y: { field: 'zero', type: 'quantitative' } },
      },
    ],
  };
}

/** Bins of a histogram. */
const MAX_BINS = 60;

/**
 * Counts of errors, over all rows, in bins of equal width (Freedman and Diaconis: twice the range of
 * the middle half, divided by the cube root of the rows). The outermost hundredth on either side is
 * counted in the outermost bins, which would else be nearly all that there is to see.
 */
export function residualHistogram(input: ResidualHistogramPlot): TopLevelSpec {
  const { actual, predicted, split, unit } = input;
  const errors = Float64Array.from(actual, (value, row) => value - predicted[row]!)
    .filter(Number.isFinite)
    .sort();
  const at = (share: number): number => errors[Math.round(share * (errors.length - 1))] ?? 0;
  const [low, high] = [at(0.01), at(0.99)];
  const ideal = (2 * (at(0.75) - at(0.25))) / cubeRoot(Math.max(1, errors.length));
  const numBins = Math.max(1, Math.min(MAX_BINS, Math.ceil((high - low) / ideal) || 1));
  const width = (high - low) / numBins || 1;
  const counts = new Uint32Array(numBins);
  for (const error of errors) {
    counts[Math.max(0, Math.min(numBins - 1, Math.floor((error - low) / width)))]! += 1;
  }
  const values = Array.from(counts, (count, bin) => ({
    from: low + bin * width,
    to: low + (bin + 1) * width,
    count,
  }));
  const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
  const marks = errors.length === 0 ? [] : [{ at: at(0.5) }];
  return {
    ...BASE,
    title: {
      text: `Distribution of residuals of ${unit} (${split})`,
      subtitle: [
        `Dashed: the median, ${formatMetric(at(0.5))}; mean ${formatMetric(mean)}; ${formatCount(errors.length)} rows`,
        'The outermost 1 % on either side are counted in the outermost bins',
      ],
    },
    width: 600,
    height: 380,
    layer: [
      {
        data: { values: errors.length === 0 ? [] : values },
        mark: { type: 'bar', color: BLUE, binSpacing: 1 },
        encoding: {
          x: {
            field: 'from',
            type: 'quantitative',
            bin: { binned: true },
            axis: { ...numbers(`${unit} (actual − predicted)`), grid: false },
          },
          x2: { field: 'to' },
          y: { field: 'count', type: 'quantitative', axis: numbers('rows') },
        },
      },
      {
        data: { values: marks },
        mark: { type: 'rule', color: ORANGE, strokeWidth: 2, strokeDash: [5, 4] },
        encoding: { x: { field: 'at', type: 'quantitative' } },
      },
    ],
  };
}

/** The cube root by Newton's method: Math.cbrt differs between hosts, and a plot need not. */
function cubeRoot(value: number): number {
  let root = Math.max(1, Math.sqrt(value));
  for (let i = 0; i < 60; i++) root = (2 * root + value / (root * root)) / 3;
  return root;
}

/** Counts of actual against predicted classes, coloured by their share of the actual class. */
export function confusion({ split, classes, counts, accuracy }: ConfusionPlot): TopLevelSpec {
  const values = counts.flatMap((row, actual) => {
    const total = row.reduce((sum, count) => sum + count, 0);
    return row.map((count, predicted) => ({
      actual: classes[actual],
      predicted: classes[predicted],
      count,
      share: total === 0 ? 0 : count / total,
    }));
  });
  const numClasses = classes.length;
  const size = Math.max(16, Math.min(120, Math.floor(560 / numClasses)));
  const side = Math.min(560, size * numClasses);
  // A character is about 8 pixels wide.
  const isWide = classes.some((name) => name.length * 8 > size);
  const axis = {
    labelOverlap: numClasses > MAX_CLASSES_WITH_COUNTS,
    labelLimit: 120,
    domain: false,
    ticks: false,
    labelPadding: 6,
  } as const;
  const x = { field: 'predicted', type: 'ordinal', sort: null, title: 'predicted class' } as const;
  const y = { field: 'actual', type: 'ordinal', sort: null, title: 'actual class' } as const;
  return {
    ...BASE,
    title: {
      text: `Confusion matrix (${split})`,
      subtitle: `Accuracy ${(100 * accuracy).toFixed(2)} %; colour: share of the actual class`,
    },
    data: { values },
    width: side,
    height: side,
    encoding: { x: { ...x, axis: { ...axis, labelAngle: isWide ? -45 : 0 } }, y: { ...y, axis } },
    layer: [
      {
        mark: { type: 'rect', stroke: '#e5e7eb' },
        encoding: {
          color: {
            field: 'share',
            type: 'quantitative',
            title: 'row share',
            scale: { domain: [0, 1], range: ['#f7faff', '#0b4a94'] },
            legend: { format: '.0%', gradientLength: Math.min(200, side) },
          },
        },
      },
      ...(numClasses > MAX_CLASSES_WITH_COUNTS ? [] : [confusionCounts(size)]),
    ],
  };
}

function confusionCounts(cellSize: number) {
  return {
    mark: { type: 'text' as const, fontSize: Math.max(9, Math.min(14, Math.floor(cellSize / 3.4))) },
    encoding: {
      text: { field: 'count', type: 'quantitative' as const, format: ',d' },
      color: { condition: { test: 'datum.share > 0.5', value: 'white' }, value: '#111827' },
    },
  };
}

/** The share of positives found against the share of false alarms, with the diagonal of a guess. */
export function roc({ split, positive, falsePositiveRates, truePositiveRates, area }: RocPlot): TopLevelSpec {
  const last = falsePositiveRates.length - 1;
  const count = Math.min(falsePositiveRates.length, MAX_CURVE_POINTS);
  // At a fixed stride, both ends included.
  const values = Array.from({ length: count }, (_, i) => {
    const at = Math.round((i * last) / (count - 1));
    return { order: i, falsePositives: falsePositiveRates[at], truePositives: truePositiveRates[at] };
  });
  const scale = { domain: [0, 1], nice: false };
  const axis = { format: '.0%', tickCount: 5 };
  return {
    ...BASE,
    title: {
      text: `ROC curve (${split})`,
      subtitle: `Area under the curve ${formatMetric(area)}; positive: ${positive}`,
    },
    width: 480,
    height: 480,
    layer: [
      {
        data: { values: [{ rate: 0 }, { rate: 1 }] },
        mark: { type: 'line', strokeDash: [5, 4], color: GREY },
        encoding: { x: { field: 'rate', type: 'quantitative' }, y: { field: 'rate', type: 'quantitative' } },
      },
      {
        data: { values },
        mark: { type: 'line', strokeWidth: 2, color: BLUE, interpolate: 'linear' },
        encoding: {
          order: { field: 'order', type: 'quantitative' },
          x: { field: 'falsePositives', type: 'quantitative', title: 'false positive rate', scale, axis },
          y: { field: 'truePositives', type: 'quantitative', title: 'true positive rate', scale, axis },
        },
      },
    ],
  };
}
