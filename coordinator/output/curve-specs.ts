// Vega-Lite specifications of curves over a run: metrics by epoch, and the learning rate and the norm
// of the gradient by step.
import type { TopLevelSpec } from 'vega-lite';
import { BASE, BLUE, GREY, numbers, scaleOf } from './plot-specs.ts';
import type { Curve, MetricCurvesPlot, StepCurvePlot } from './plot-specs.ts';

const PANEL = { width: 300, height: 180 };

/** Every metric of the validation split by epoch, two panels a row. */
export function metricCurves({ curves, bestEpoch }: MetricCurvesPlot): TopLevelSpec {
  const subtitle = bestEpoch === undefined ? '' : `Dashed: the best epoch, ${bestEpoch}`;
  return {
    ...BASE,
    title: { text: 'Validation metrics by epoch', subtitle },
    columns: curves.length === 1 ? 1 : 2,
    concat: curves.map((curve) => panel(curve, bestEpoch)),
  };
}

function panel({ name, points }: Curve, bestEpoch: number | undefined) {
  const isMarked = points.some(({ x }) => x === bestEpoch);
  return {
    ...PANEL,
    title: { text: name, fontSize: 14, fontWeight: 'normal' as const, offset: 8 },
    layer: [
      {
        data: { values: isMarked ? [{ x: bestEpoch }] : [] },
        mark: { type: 'rule' as const, strokeDash: [5, 4], color: GREY },
        encoding: { x: { field: 'x', type: 'quantitative' as const } },
      },
      curveLayer(points, 'epoch'),
    ],
  };
}

const STEP_TITLES = {
  learningRate: 'Learning rate by step',
  gradientNorm: 'Norm of the gradient by step, before clipping',
} as const;

/** One value a step. */
export function stepCurve({ kind, points }: StepCurvePlot): TopLevelSpec {
  return { ...BASE, title: STEP_TITLES[kind], width: 600, height: 300, layer: [curveLayer(points, 'step')] };
}

function curveLayer(points: Curve['points'], unit: 'epoch' | 'step') {
  return {
    data: { values: points.filter(({ y }) => Number.isFinite(y)) },
    // Points: a run of one epoch has no line to draw.
    mark: { type: 'line' as const, point: points.length <= 40, strokeWidth: 2, color: BLUE },
    encoding: {
      x: {
        field: 'x',
        type: 'quantitative' as const,
        scale: { nice: false, zero: false },
        axis: { ...numbers(unit), tickMinStep: 1, grid: false },
      },
      y: {
        field: 'y',
        type: 'quantitative' as const,
        axis: numbers(null),
        scale: scaleOf(points.map(({ y }) => y)),
      },
    },
  };
}
