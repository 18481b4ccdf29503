// Vega-Lite specifications of what a classification's probabilities and classes are like, and of the
// importance of columns.
import type { TopLevelSpec } from 'vega-lite';
import { formatCount, formatMetric } from '../../src/printable.ts';
import { BASE, BLUE, GREY, numbers, ORANGE } from './plot-specs.ts';
import type { CalibrationPlot, ImportancePlot, PerClassPlot, PrecisionRecallPlot } from './plot-specs.ts';

const GREEN = '#3f8f4f';
/** Colours of up to eight classes that stay apart for most eyes, legible on white. */
const CLASS_COLORS = [BLUE, ORANGE, GREEN, '#a23b72', '#6d5acd', '#8a6d1d', '#1f9aa8', '#c0392b'];
/** More points than pixels bloat the SVG. */
const MAX_CURVE_POINTS = 500;
/** More bars than these make a picture that nobody reads. */
const MAX_BARS = 30;

const SHARE = { format: '.0%', tickCount: 5 } as const;
const FROM_0_TO_1 = { domain: [0, 1], nice: false };

/** The precision at each share of a class that is found. */
export function precisionRecall({ split, curves, note }: PrecisionRecallPlot): TopLevelSpec {
  const values = curves.flatMap(({ name, recalls, precisions, averagePrecision }) => {
    const last = recalls.length - 1;
    const count = Math.min(recalls.length, MAX_CURVE_POINTS);
    const label = `${name} (${formatMetric(averagePrecision)})`;
    return Array.from({ length: count }, (_, i) => {
      const at = count === 1 ? 0 : Math.round((i * last) / (count - 1));
      return { order: i, name: label, recall: recalls[at], precision: precisions[at] };
    });
  });
  const names = [...new Set(values.map(({ name }) => name))];
  return {
    ...BASE,
    title: {
      text: `Precision and recall (${split})`,
      subtitle: lines('In brackets: average precision, the area under the curve', note),
    },
    width: 480,
    height: 480,
    data: { values },
    mark: { type: 'line', strokeWidth: 2, point: values.length < 20 },
    encoding: {
      order: { field: 'order', type: 'quantitative' },
      x: { field: 'recall', type: 'quantitative', scale: FROM_0_TO_1, axis: { ...SHARE, title: 'recall' } },
      y: {
        field: 'precision',
        type: 'quantitative',
        scale: FROM_0_TO_1,
        axis: { ...SHARE, title: 'precision' },
      },
      color: {
        field: 'name',
        type: 'nominal',
        title: null,
        sort: null,
        scale: { domain: names, range: CLASS_COLORS.slice(0, names.length) },
        legend: { symbolType: 'stroke', symbolSize: 300, labelLimit: 220 },
      },
    },
  };
}

/** The share of predictions that come true against their probability, with the diagonal of honest ones. */
export function calibration({ split, bins, error, positive, note }: CalibrationPlot): TopLevelSpec {
  const what = positive === undefined ? 'the predicted class' : positive;
  return {
    ...BASE,
    title: {
      text: `Calibration (${split})`,
      subtitle: lines(
        `Mean distance from the diagonal, by rows: ${(100 * error).toFixed(2)} %; area of a point: its rows`,
        note,
      ),
    },
    width: 480,
    height: 480,
    layer: [
      {
        data: { values: [{ share: 0 }, { share: 1 }] },
        mark: { type: 'line', strokeDash: [5, 4], color: GREY },
        encoding: {
          x: { field: 'share', type: 'quantitative' },
          y: { field: 'share', type: 'quantitative' },
        },
      },
      {
        data: { values: bins },
        mark: { type: 'line', strokeWidth: 2, color: BLUE },
        encoding: {
          x: {
            field: 'expected',
            type: 'quantitative',
            scale: FROM_0_TO_1,
            axis: { ...SHARE, title: `mean probability of ${what}` },
          },
          y: {
            field: 'observed',
            type: 'quantitative',
            scale: FROM_0_TO_1,
            axis: { ...SHARE, title: 'share that came true' },
          },
        },
      },
      {
        data: { values: bins },
        mark: { type: 'circle', color: BLUE, opacity: 0.9 },
        encoding: {
          x: { field: 'expected', type: 'quantitative' },
          y: { field: 'observed', type: 'quantitative' },
          size: {
            field: 'share',
            type: 'quantitative',
            scale: { domain: [0, 1], range: [30, 900] },
            legend: { title: 'share of rows', format: '.0%', values: [0.05, 0.25, 0.75] },
          },
        },
      },
    ],
  };
}

const RATIOS = ['precision', 'recall', 'F1'] as const;

/** Precision, recall and F1 of each class; of many classes those with the lowest F1. */
export function perClass({ split, classes }: PerClassPlot): TopLevelSpec {
  const isAll = classes.length <= MAX_BARS;
  const shown = isAll ? classes : [...classes].sort((a, b) => a.f1 - b.f1).slice(0, MAX_BARS);
  const values = shown.flatMap(({ name, precision, recall, f1, support }) =>
    [precision, recall, f1].map((value, i) => ({
      name: `${name} (${formatCount(support)})`,
      ratio: RATIOS[i],
      value,
    })),
  );
  const which = isAll ? '' : `; the ${MAX_BARS} lowest F1 of ${formatCount(classes.length)} classes`;
  return {
    ...BASE,
    title: {
      text: `Precision, recall and F1 by class (${split})`,
      subtitle: `In brackets: rows of the class${which}`,
    },
    width: 480,
    height: { step: 11 },
    data: { values },
    mark: { type: 'bar' },
    encoding: {
      y: {
        field: 'name',
        type: 'nominal',
        sort: null,
        title: null,
        scale: { paddingInner: 0.3 },
        axis: { labelLimit: 220 },
      },
      yOffset: { field: 'ratio', type: 'nominal', sort: [...RATIOS] },
      x: { field: 'value', type: 'quantitative', scale: FROM_0_TO_1, axis: { ...SHARE, title: null } },
      color: {
        field: 'ratio',
        type: 'nominal',
        title: null,
        sort: [...RATIOS],
        scale: { domain: [...RATIOS], range: [BLUE, ORANGE, GREEN] },
        legend: { orient: 'top', symbolType: 'square' },
      },
    },
  };
}

/** A bar for each column: how much worse the model gets when the values of a column change places. */
export function importance({ columns, measure, rows, allRows }: ImportancePlot): TopLevelSpec {
  const shown = columns.slice(0, MAX_BARS);
  const which =
    columns.length > MAX_BARS ? `; the ${MAX_BARS} greatest of ${formatCount(columns.length)} columns` : '';
  return {
    ...BASE,
    title: {
      text: 'Importance of columns',
      subtitle: [
        `Increase in ${measure} when a column's values are shuffled`,
        `${formatCount(rows)} of ${formatCount(allRows)} rows of the validation split${which}`,
      ],
    },
    width: 480,
    height: { step: 22 },
    data: { values: shown },
    mark: { type: 'bar', color: BLUE },
    encoding: {
      y: { field: 'name', type: 'nominal', sort: null, title: null, axis: { labelLimit: 220 } },
      x: { field: 'increase', type: 'quantitative', axis: numbers(`increase in ${measure}`) },
    },
  };
}

function lines(first: string, second: string | undefined): string | string[] {
  return second === undefined ? first : [first, second];
}
