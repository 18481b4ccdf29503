// Vega-Lite specifications of a regression's plots: one point a row, in the target's own units.
import type { TopLevelSpec } from 'vega-lite';
import { formatMetric } from './format.ts';
import type { RegressionPlot } from './plot-input.ts';
import { BASE, BLUE, ORANGE } from './plot-theme.ts';

/** More points hide each other and bloat the SVG. */
const MAX_POINTS = 2000;

/** `250k` rather than `250,000`, but 0.5 rather than `500m`; and few enough ticks that they stay apart. */
const NUMBERS = {
  labelExpr:
    "abs(datum.value) >= 1e6 && abs(datum.value) < 1e9 ? format(datum.value / 1e6, '~g') + 'M'" +
    " : abs(datum.value) >= 1e4 && abs(datum.value) < 1e6 ? format(datum.value / 1e3, '~g') + 'k'" +
    " : format(datum.value, '~g')",
  tickCount: 7,
} as const;

/**
 * An axis with a text of the user's as its title. Of the axis, not of its field: Vega-Lite puts the titles of fields into
 * expressions of its own, where a backslash begins an escape.
 */
function numbers(title: string) {
  return { title, ...NUMBERS };
}

interface Point {
  readonly actual: number;
  readonly predicted: number;
}

/** Rows at a fixed stride: the same ones for the same data. */
function samplePoints({ actual, predicted }: RegressionPlot): Point[] {
  const count = Math.min(actual.length, MAX_POINTS);
  const points = Array.from({ length: count }, (_, i) => {
    const row = Math.floor((i * actual.length) / count);
    return { actual: actual[row]!, predicted: predicted[row]! };
  });
  return points.filter(({ actual, predicted }) => Number.isFinite(actual) && Number.isFinite(predicted));
}

function pointsSubtitle(shown: number, { actual, r2 }: RegressionPlot): string {
  const rows = `${shown.toLocaleString('en-US')} of ${actual.length.toLocaleString('en-US')} rows`;
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

/** What is left unexplained, against the prediction. */
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
