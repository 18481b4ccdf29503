// Vega-Lite specifications of curves over a run: metrics by epoch, and the learning rate and the norm
// of the gradient by step.
import type { TopLevelSpec } from 'vega-lite';
import { printable } from '../../src/printable.ts';
import { BASE, BLUE, GREY, numbers, ORANGE, scaleOf } from './plot-specs.ts';
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

/** Colours of up to eight runs, legible on white. */
const RUN_COLORS = [BLUE, ORANGE, '#3f8f4f', '#a23b72', '#6d5acd', '#8a6d1d', '#1f9aa8', '#c0392b'];

/** The losses of several runs, by epoch. */
export function runLosses(
  runs: readonly {
    readonly name: string;
    readonly epochs: readonly { readonly epoch: number; readonly loss: number }[];
  }[],
): TopLevelSpec {
  const values = runs.flatMap(({ name, epochs }) =>
    epochs
      .filter(({ loss }) => Number.isFinite(loss))
      .map((at) => ({ name: printable(name).replaceAll('\n', '↵'), ...at })),
  );
  const names = [...new Set(values.map(({ name }) => name))];
  return {
    ...BASE,
    title: { text: 'Loss by epoch', subtitle: 'Of the validation split; of training where a run has none' },
    width: 600,
    height: 380,
    data: { values },
    mark: { type: 'line', strokeWidth: 2, point: values.length <= 80 },
    encoding: {
      x: {
        field: 'epoch',
        type: 'quantitative',
        scale: { nice: false, zero: false },
        axis: { ...numbers('epoch'), tickMinStep: 1, grid: false },
      },
      y: {
        field: 'loss',
        type: 'quantitative',
        axis: numbers('loss'),
        scale: scaleOf(values.map(({ loss }) => loss)),
      },
      color: {
        field: 'name',
        type: 'nominal',
        title: null,
        sort: null,
        scale: { domain: names, range: RUN_COLORS.slice(0, names.length) },
        legend: { orient: 'top', columns: 2, symbolType: 'stroke', symbolSize: 300, labelLimit: 260 },
      },
    },
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
