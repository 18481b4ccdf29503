// The result of a run: the content of `summary.json`, whose names are stable, and a table for people.
import { quoteName, shorten } from '../../src/errors.ts';
import type { KernelWidth } from '../../src/kernels/kernel-width.ts';
import type { Numerics } from '../../src/kernels/kernels.ts';
import { metricNamed, scalarMetrics } from '../../src/metrics/definitions.ts';
import type { SplitMetrics } from '../../src/metrics/definitions.ts';
import type { ClassMetrics } from '../../src/metrics/classification.ts';
import { countOf, formatCount, formatDuration, formatMetric, formatSize } from '../../src/printable.ts';
import { wrapLines } from '../../src/screen.ts';
import { plainTable } from './plain-table.ts';
import type { Baseline } from '../training/baseline.ts';

/** The content of `summary.json`. */
export interface Summary<Metrics = SplitMetrics> {
  /** The run's name. */
  readonly name: string;
  /** The seed of the config. */
  readonly seed: number;
  /** The build of the kernels: `strict` or `fused`. */
  readonly numerics: Numerics;
  /** Bits of the coordinator's vectors, on which no other figure but the times depends. */
  readonly kernelWidth: KernelWidth;
  /** Slices of a full batch. */
  readonly shards: number;
  /** The form in which sums of gradients travel. */
  readonly wire: {
    /** `f32`, or `bf16`: sums of groups are rounded to bfloat16. */
    readonly gradients: 'f32' | 'bf16';
    /** Most groups of a batch; bf16 only. */
    readonly groups?: number | undefined;
  };
  /** SHA-256 of the trained weights: little-endian f32 bytes of the flat parameter vector. */
  readonly weightsSha256: string;
  /** Epochs trained. */
  readonly epochs: number;
  /** The epoch after which early stopping, or a program, ended the run; absent if neither did. */
  readonly stoppedEarly?: number | undefined;
  /** Optimizer steps taken. */
  readonly steps: number;
  /** Training samples seen, each epoch counted. */
  readonly samplesSeen: number;
  /** Most workers at one time. */
  readonly workers: number;
  /** Threads that computed in the run's own process; absent where workers did. */
  readonly threads?: number | undefined;
  /** Seconds from start to end, data loading and testing included. */
  readonly wallSeconds: number;
  /** Seconds spent in training steps. */
  readonly trainSeconds: number;
  /** `samplesSeen / trainSeconds`. */
  readonly samplesPerSecond: number;
  /** The last epoch's mean loss over its batches. */
  readonly train: {
    /** Mean over the epoch's samples, each before its step. */
    readonly loss: number;
    readonly [name: string]: number;
  };
  /** Metrics of the best weights; absent if the split is empty. */
  readonly validation?: Metrics | undefined;
  /** Measured once, on the best weights. Absent if the split is empty. */
  readonly test?: Metrics | undefined;
  /** Predictions without a model, on the test split. Absent as `test` is. */
  readonly baseline?: Baseline | undefined;
  /** The epoch whose weights are kept, with its validation metrics. */
  readonly best: {
    /** The epoch, from 1. */
    readonly epoch: number;
    readonly [name: string]: number;
  };
}

/** The parts of the text about a run that are not in its summary. */
export interface SummaryText {
  /** Width of lines. */
  readonly columns: number;
  /** Names of the classes or labels of `perClass`, in their order. */
  readonly classNames: readonly string[];
  readonly advice: readonly string[];
}

/** Tables of the run's losses and test metrics, and advice, in lines that end in newlines. */
export function formatSummary(summary: Summary, { columns, classNames, advice }: SummaryText): string {
  const { name, epochs, steps, samplesSeen, trainSeconds, samplesPerSecond, stoppedEarly, best } = summary;
  const work = `${countOf(epochs, 'epoch')}, ${countOf(steps, 'step')}, ${formatSize(samplesSeen)} samples`;
  const { threads, workers } = summary;
  const computers = threads === undefined ? countOf(workers, 'worker') : countOf(threads, 'thread');
  const speed = `${formatSize(samplesPerSecond)} samples/s, ${computers}`;
  const ending = stoppedEarly === undefined ? '' : `, stopped early after epoch ${stoppedEarly}`;
  return [
    wrapLines(`${name}: ${work} in ${formatDuration(trainSeconds)}, ${speed}`, columns),
    formatMetricsTable(metricColumns(summary)),
    ...(summary.baseline ? [wrapLines(describeBaseline(summary.baseline), columns)] : []),
    ...classLines(summary, classNames),
    `best epoch ${best.epoch}${ending}`,
    `weights sha256 ${summary.weightsSha256}`,
    ...advice.map((text) => wrapLines(`advice: ${text}`, columns)),
    '',
  ].join('\n');
}

function describeBaseline(baseline: Baseline): string {
  if (baseline.kind === 'mean') return 'baseline: always the mean of the training targets';
  const { className } = baseline;
  const what = className === undefined ? 'value of each label' : `class, ${quoteName(className)}`;
  return `baseline: always the most frequent ${what}`;
}

/** Spaces between columns of figures. */
const TABLE_GAP = 3;
/** Most classes that are all shown. */
const MAX_CLASSES_IN_FULL = 20;
const NUM_WORST_CLASSES = 10;
const MAX_CLASS_NAME = 32;

/** The metrics of each class in the test split, or in the validation split where there is no other. */
function classLines({ validation, test }: Summary, classNames: readonly string[]): string[] {
  const split = test ?? validation;
  if (!split?.perClass) return [];
  const named = split.perClass.map((metrics, label) => ({
    name: shorten((classNames[label] ?? String(label)).replaceAll('\n', '↵'), MAX_CLASS_NAME),
    ...metrics,
  }));
  if (named.length <= MAX_CLASSES_IN_FULL) return ['', formatClassTable(named)];
  const worst = named
    .filter(({ support }) => support > 0)
    .sort((a, b) => a.f1 - b.f1)
    .slice(0, NUM_WORST_CLASSES);
  const told = `the ${worst.length} classes of ${formatCount(named.length)} with the least f1; summary.json has all`;
  return ['', formatClassTable(worst), told];
}

function formatClassTable(classes: readonly (ClassMetrics & { readonly name: string })[]): string {
  const head = ['class', '>precision', '>recall', '>f1', '>support'];
  const rows = classes.map(({ name, precision, recall, f1, support }) => [
    name,
    ...[precision, recall, f1].map(formatMetric),
    formatCount(support),
  ]);
  return plainTable(head, rows, TABLE_GAP);
}

/** Metrics of a split under its name. */
type MetricsColumn = readonly [split: string, metrics: Readonly<Record<string, number>>];

/** The metrics of a run's splits, and of its baseline. */
export function metricColumns({ train, validation, test, baseline }: Summary): MetricsColumn[] {
  const columns: MetricsColumn[] = [['train', train]];
  if (validation) columns.push(['validation', scalarMetrics(validation)]);
  if (test) columns.push(['test', scalarMetrics(test)]);
  if (baseline) columns.push(['baseline', numbersOf(baseline)]);
  return columns;
}

function numbersOf(baseline: Baseline): Readonly<Record<string, number>> {
  if (baseline.kind === 'majority') return { accuracy: baseline.accuracy };
  const { rmse, mae, r2 } = baseline;
  return { rmse, mae, r2 };
}

/** A line for each metric, a column for each split; no newline at the end. */
export function formatMetricsTable(columns: readonly MetricsColumn[]): string {
  const head = ['', ...columns.map(([split]) => `>${split}`)];
  return plainTable(head, metricRows(columns), TABLE_GAP);
}

/** The name of each metric, and its value in each column as a text. */
export function metricRows(columns: readonly MetricsColumn[]): string[][] {
  const metrics = [...new Set(columns.flatMap(([, values]) => Object.keys(values)))];
  return metrics.map((metric) => [metric, ...columns.map(([, values]) => cell(metric, values[metric]))]);
}

function cell(metric: string, value: number | undefined): string {
  if (value === undefined) return '';
  return metricNamed(metric)?.isCount ? formatCount(value) : formatMetric(value);
}
