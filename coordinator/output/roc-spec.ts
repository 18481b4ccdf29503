// Vega-Lite specification of a ROC curve: what share of the positives is found at what share of false alarms.
import type { TopLevelSpec } from 'vega-lite';
import { formatMetric } from './format.ts';
import type { RocPlot } from './plot-input.ts';
import { BASE, BLUE, GREY } from './plot-theme.ts';

/** More points than pixels bloat the SVG. */
const MAX_POINTS = 1000;

/** The curve, with the diagonal of a guess. */
export function roc({ split, positive, falsePositiveRates, truePositiveRates, area }: RocPlot): TopLevelSpec {
  const last = falsePositiveRates.length - 1;
  const count = Math.min(falsePositiveRates.length, MAX_POINTS);
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
