// What each plot of a run shows, as Vega-Lite specifications: plain JSON, kept beside the pictures as artifacts.
// Nothing is drawn here, and Vega itself is not loaded.
import type { TopLevelSpec } from 'vega-lite';
import type { ConfusionPlot, LossCurvesPlot, PlotInput } from './plot-input.ts';
import { BASE, BLUE, GREY, ORANGE } from './plot-theme.ts';
import { roc } from './roc-spec.ts';
import { predictedVsActual, residuals } from './scatter-specs.ts';

/** Cells get too small for their numbers. */
const MAX_CLASSES_WITH_COUNTS = 20;

/** The Vega-Lite specification of a plot. */
export function plotSpec(input: PlotInput): TopLevelSpec {
  switch (input.kind) {
    case 'lossCurves':
      return lossCurves(input);
    case 'predictedVsActual':
      return predictedVsActual(input);
    case 'residuals':
      return residuals(input);
    case 'confusion':
      return confusion(input);
    case 'roc':
      return roc(input);
    default:
      return input satisfies never;
  }
}

function lossCurves({ epochs, loss, bestEpoch, bestBy }: LossCurvesPlot): TopLevelSpec {
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

function confusion({ split, classes, counts, accuracy }: ConfusionPlot): TopLevelSpec {
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
