// Vega-Lite specifications of the plots of a measured split: a point for each row of a regression,
// in the target's own unit; counts and a curve of a classification.
import type { TopLevelSpec } from 'vega-lite';
import { formatCount, formatMetric } from '../../src/printable.ts';
import { BASE, BLUE, GREY, ORANGE } from './plot-specs.ts';
import type { ConfusionPlot, RegressionPlot, RocPlot } from './plot-specs.ts';

/** More points hide each other and bloat the SVG. */
const MAX_SCATTER_POINTS = 2000;
/** More points than pixels bloat the SVG. */
const MAX_CURVE_POINTS = 1000;
/** Cells get too small for their numbers. */
const MAX_CLASSES_WITH_COUNTS = 20;

/** `250k` rather than `250,000`, but 0.5 rather than `500m`; and few enough ticks that they stay apart. */
const NUMBERS = {
  labelExpr:
    "abs(datum.value) >= 1e6 && abs(datum.value) < 1e9 ? format(datum.value / 1e6, '~g') + 'M'" +
    " : abs(datum.value) >= 1e4 && abs(datum.value) < 1e6 ? format(datum.value / 1e3, '~g') + 'k'" +
    " : format(datum.value, '~g')",
  tickCount: 7,
} as const;

/**
 * An axis with a text of the user as its title. It is the title of the axis, not of its field:
 * Vega-Lite puts the titles of fields into expressions of its own, where a backslash begins an
 * escape.
 */
function numbers(title: string) {
  return { title, ...NUMBERS };
}

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
