// The result of a run: the content of `summary.json`, whose names are stable, and a table for people.
import Table from 'cli-table3';
import type { Config } from '../../src/config/schema.ts';
import type { KernelWidth } from '../../src/kernels/kernel-width.ts';
import type { Numerics } from '../../src/kernels/kernels.ts';
import { metricNamed, scalarMetrics } from '../../src/metrics/definitions.ts';
import type { SplitMetrics } from '../../src/metrics/definitions.ts';
import { countOf, formatCount, formatDuration, formatMetric } from '../../src/printable.ts';

/** The content of `summary.json`. */
export interface Summary {
  readonly name: string;
  readonly seed: number;
  readonly numerics: Numerics;
  /** Bits of the coordinator's vectors, on which no other figure but the times depends. */
  readonly kernelWidth: KernelWidth;
  /** Slices of a full batch. */
  readonly shards: number;
  /** The form of gradients: f32, or bf16 with the most groups of a batch. */
  readonly wire: Config['wire'];
  /** SHA-256 of the trained weights: little-endian f32 bytes of the flat parameter vector. */
  readonly weightsSha256: string;
  /** Epochs trained. */
  readonly epochs: number;
  /** The epoch after which early stopping ended the run; absent if it did not. */
  readonly stoppedEarly?: number | undefined;
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
  readonly train: { readonly loss: number; readonly [name: string]: number };
  /** Metrics of the best weights; absent if the split is empty. */
  readonly validation?: SplitMetrics | undefined;
  /** Measured once, on the best weights. Absent if the split is empty. */
  readonly test?: SplitMetrics | undefined;
  /** The epoch whose weights are kept, with its validation metrics. */
  readonly best: { readonly epoch: number; readonly [name: string]: number };
}

/** A table of the run's losses and test metrics, ending in a newline. */
export function formatSummary(summary: Summary): string {
  const { name, epochs, steps, samplesSeen, trainSeconds, samplesPerSecond, stoppedEarly, best } = summary;
  const work = `${countOf(epochs, 'epoch')}, ${countOf(steps, 'step')}, ${countOf(samplesSeen, 'sample')}`;
  const { threads, workers } = summary;
  const computers = threads === undefined ? countOf(workers, 'worker') : countOf(threads, 'thread');
  const speed = `${formatCount(samplesPerSecond)} samples/s, ${computers}`;
  const ending = stoppedEarly === undefined ? '' : `, stopped early after epoch ${stoppedEarly}`;
  return [
    `${name}: ${work} in ${formatDuration(trainSeconds)} (${speed})`,
    formatMetricsTable(columnsOf(summary)),
    `best epoch ${best.epoch}${ending}, weights sha256 ${summary.weightsSha256}`,
    '',
  ].join('\n');
}

/** Metrics of a split under its name. */
type MetricsColumn = readonly [split: string, metrics: Readonly<Record<string, number>>];

function columnsOf({ train, validation, test }: Summary): MetricsColumn[] {
  const columns: MetricsColumn[] = [['train', train]];
  if (validation) columns.push(['validation', scalarMetrics(validation)]);
  if (test) columns.push(['test', scalarMetrics(test)]);
  return columns;
}

/** A line for each metric, a column for each split; no newline at the end. */
export function formatMetricsTable(columns: readonly MetricsColumn[]): string {
  const metrics = [...new Set(columns.flatMap(([, values]) => Object.keys(values)))];
  const rows = metrics.map((metric) => [
    metric,
    ...columns.map(([, values]) => cell(metric, values[metric])),
  ]);
  return formatPlainTable(['', ...columns.map(([split]) => split)], rows);
}

/**
 * A table without lines: the first column on the left, the others on the right, `gap` blanks between
 * them; no newline at the end.
 */
export function formatPlainTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  gap = 3,
): string {
  const table = new Table({
    head: [...head],
    colAligns: head.map((_, column) => (column === 0 ? ('left' as const) : ('right' as const))),
    // No colours: the table also goes to files and to terminals that want none.
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 },
    chars: { ...PLAIN_CHARS, middle: ' '.repeat(gap) },
  });
  for (const row of rows) table.push([...row]);
  return table.toString();
}

function cell(metric: string, value: number | undefined): string {
  if (value === undefined) return '';
  return metricNamed(metric)?.isCount ? formatCount(value) : formatMetric(value);
}

const PLAIN_CHARS = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
};
