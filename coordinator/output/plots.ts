// The plots of a finished run: which ones it gets, and their files <name>.vl.json, <name>.svg and <name>.png.
// A plot is never worth a run: whatever fails here is a warning.
import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TopLevelSpec } from 'vega-lite';
import type { Config } from '../../src/config/schema.ts';
import type { LoadedData } from '../../src/data/load.ts';
import { makeDirectory } from '../../src/durable-write.ts';
import { LOSS } from '../../src/metrics/definitions.ts';
import { printable } from '../../src/printable.ts';
import { directionOf } from '../training/early-stopping.ts';
import type { MeasuredSplit } from '../training/measure.ts';
import type { PreparedRun } from '../training/prepare.ts';
import type { TrainingResult } from '../training/train.ts';
import { scorePlots } from './class-curves.ts';
import { calibration, importance, perClass, precisionRecall } from './class-specs.ts';
import { metricCurves, stepCurve } from './curve-specs.ts';
import { lossCurves } from './plot-specs.ts';
import type { ImportancePlot, PlotInput, PlottedSplit } from './plot-specs.ts';
import type { RunCurves } from './run-curves.ts';
import { confusion, predictedVsActual, residualHistogram, residuals, roc } from './split-specs.ts';

/** The sources of the plots of a run. */
export interface PlotSources {
  readonly prepared: Pick<PreparedRun, 'config' | 'data' | 'math'>;
  readonly result: TrainingResult;
  readonly curves: RunCurves;
  readonly importance: ImportancePlot | undefined;
}

/** Curves over the run; the importance of columns; then the plots of each measured split. */
export function runPlots({ prepared, result, curves, importance }: PlotSources): PlotInput[] {
  const { config } = prepared;
  const { epoch: bestEpoch } = result.best;
  const { metrics, learningRate, gradientNorm } = curves;
  return [
    {
      kind: 'lossCurves',
      loss: config.loss.kind,
      epochs: result.history.map(({ epoch, trainLoss, validationLoss }) => ({
        epoch,
        train: trainLoss,
        validation: validationLoss,
      })),
      bestEpoch,
      bestBy: reasonOf(config),
    },
    ...(metrics.length > 0 ? [{ kind: 'metricCurves' as const, curves: metrics, bestEpoch }] : []),
    { kind: 'learningRate', points: learningRate },
    { kind: 'gradientNorm', points: gradientNorm },
    ...(importance ? [importance] : []),
    ...splitPlots('validation', result.validation, prepared),
    ...splitPlots('test', result.test, prepared),
  ];
}

/**
 * The criterion of the best epoch; undefined for the loss, which the plot shows, and where the last
 * epoch counts.
 */
function reasonOf({ earlyStopping }: Config): string | undefined {
  if (!earlyStopping?.restoreBest || earlyStopping.monitor === LOSS.name) return undefined;
  return `${directionOf(earlyStopping) === 'min' ? 'least' : 'greatest'} validation ${earlyStopping.monitor}`;
}

function splitPlots(
  split: PlottedSplit,
  measured: MeasuredSplit | undefined,
  { config, data, math }: PlotSources['prepared'],
): PlotInput[] {
  if (!measured) return [];
  const { metrics, columns, roc, scores } = measured;
  if (metrics.perClass) {
    const { accuracy, confusion: counts, perClass } = metrics;
    const classes = classNamesOf(data);
    const named = perClass.map((ratios, label) => ({ ...ratios, name: classes[label] ?? String(label) }));
    return [
      ...(counts ? [{ kind: 'confusion' as const, split, classes, counts, accuracy }] : []),
      { kind: 'perClass', split, classes: named },
      ...(roc ? [{ kind: 'roc' as const, split, positive: classes[1] ?? '1', ...roc }] : []),
      ...(scores ? scorePlots(split, scores, { classes, math }) : []),
    ];
  }
  const { targetUnit } = config.data;
  return columns.flatMap(({ name, actual, predicted }, index) => {
    const isOnly = columns.length === 1;
    const unit = targetUnit === undefined ? name : `${name} in ${targetUnit}`;
    const shared = { split, unit, actual, predicted, fileSuffix: isOnly ? undefined : `-${index + 1}` };
    return [
      { kind: 'predictedVsActual', ...shared, r2: isOnly ? metrics.r2 : undefined },
      { kind: 'residuals', ...shared },
      { kind: 'residualHistogram', ...shared },
    ] satisfies PlotInput[];
  });
}

/** The names of classes; of labels that are there or not those of the columns, or 0 and 1 of a single one. */
export function classNamesOf({ classNames, targetNames }: LoadedData): readonly string[] {
  if (classNames.length > 0) return classNames;
  return targetNames.length > 1 ? targetNames : ['0', '1'];
}

/** A plot's file name without extension. */
export function plotName(input: PlotInput): string {
  switch (input.kind) {
    case 'lossCurves':
      return 'loss-curves';
    case 'metricCurves':
      return 'metrics';
    case 'learningRate':
      return 'learning-rate';
    case 'gradientNorm':
      return 'gradient-norm';
    case 'importance':
      return 'importance';
    case 'predictedVsActual':
      return `${input.split}-predicted-vs-actual${input.fileSuffix ?? ''}`;
    case 'residuals':
      return `${input.split}-residuals${input.fileSuffix ?? ''}`;
    case 'residualHistogram':
      return `${input.split}-residual-histogram${input.fileSuffix ?? ''}`;
    case 'confusion':
      return `${input.split}-confusion`;
    case 'roc':
      return `${input.split}-roc`;
    case 'precisionRecall':
      return `${input.split}-precision-recall`;
    case 'calibration':
      return `${input.split}-calibration`;
    case 'perClass':
      return `${input.split}-per-class`;
    default:
      return input satisfies never;
  }
}

/** The Vega-Lite specification of a plot. */
export function plotSpec(input: PlotInput): TopLevelSpec {
  switch (input.kind) {
    case 'lossCurves':
      return lossCurves(input);
    case 'metricCurves':
      return metricCurves(input);
    case 'learningRate':
    case 'gradientNorm':
      return stepCurve(input);
    case 'importance':
      return importance(input);
    case 'predictedVsActual':
      return predictedVsActual(input);
    case 'residuals':
      return residuals(input);
    case 'residualHistogram':
      return residualHistogram(input);
    case 'confusion':
      return confusion(input);
    case 'roc':
      return roc(input);
    case 'precisionRecall':
      return precisionRecall(input);
    case 'calibration':
      return calibration(input);
    case 'perClass':
      return perClass(input);
    default:
      return input satisfies never;
  }
}

/** Settings of `renderPlots`. */
export interface RenderOptions {
  readonly warn: (message: string) => void;
  /** Default 60 s; then the process that draws is killed. */
  readonly deadlineMs?: number | undefined;
  /** The program that draws; default: the built one beside this file. */
  readonly program?: string | undefined;
}

/** Writes the specifications, and has another process draw them, to save this one's memory. */
export async function renderPlots(
  directory: string,
  plots: readonly PlotInput[],
  options: RenderOptions,
): Promise<void> {
  const {
    warn,
    deadlineMs = 60_000,
    program = fileURLToPath(new URL('./plot-process.js', import.meta.url)),
  } = options;
  try {
    await makeDirectory(directory);
    for (const plot of plots) {
      await fs.writeFile(path.join(directory, `${plotName(plot)}.vl.json`), specText(plot));
    }
    const complaints = await runProgram(program, [directory, ...plots.map(plotName)], deadlineMs);
    if (complaints) warn(`plots: ${complaints}`);
  } catch (error) {
    warn(`plots: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/**
 * The specification as JSON, with control characters as escapes: SVG cannot hold most of them. Line
 * feeds are shown too, as in `price↵(USD)`: Excel makes headers of several lines.
 */
export function specText(plot: PlotInput): string {
  return JSON.stringify(plotSpec(plot), (_key, value: unknown) =>
    typeof value === 'string' ? printable(value).replaceAll('\n', '↵') : value,
  );
}

/** Resolves with the program's text on stderr: empty if all went well. */
function runProgram(program: string, args: readonly string[], deadlineMs: number): Promise<string> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [program, ...args],
      { timeout: deadlineMs, killSignal: 'SIGKILL' },
      (error, _stdout, stderr) => {
        if (error?.killed) resolve(`not drawn within ${deadlineMs / 1000} s`);
        else resolve(stderr.trim() || (error?.message ?? ''));
      },
    );
  });
}
