// The report of a run: one HTML file with its results, plots, model, config and events, which asks for
// nothing from anywhere, so it can be sent to others and opens from a disk.
import fs from 'node:fs';
import path from 'node:path';
import { shorten } from '../../src/errors.ts';
import { readRecords } from '../../src/line-file.ts';
import type { SplitMetrics } from '../../src/metrics/definitions.ts';
import type { Model } from '../../src/model/model.ts';
import { countOf, formatCount, formatDuration, formatMetric, printable } from '../../src/printable.ts';
import { formatShape, sizeOf } from '../../src/shape.ts';
import { VERSION } from '../../src/version.ts';
import { writeResultFile } from './results.ts';
import type { RunDirectory } from './run-directory.ts';
import { metricColumns, metricRows } from './summary.ts';
import type { Summary } from './summary.ts';

/** Bytes of all plots: with text, a report stays below this and 1 MiB. */
const MAX_PLOT_BYTES = 8 * 2 ** 20;
/** A larger SVG, which has thousands of marks, is replaced by its PNG. */
const MAX_SVG_BYTES = 200_000;
const MAX_EPOCHS = 50;
const MAX_EVENTS = 100;
const MAX_CLASSES = 100;
const MAX_LAYERS = 200;
const MAX_CONFIG_LENGTH = 50_000;
const MAX_TEXT = 200;

/** The sources of a report. */
export interface ReportOptions {
  readonly directory: RunDirectory;
  readonly summary: Summary;
  readonly model: Model;
  /** The resolved config, as YAML text. */
  readonly config: string;
  /** Names of the classes that `perClass` metrics are about. */
  readonly classNames: readonly string[];
}

/** Writes the report. @throws LockstepError (exit 4) if the disk refuses it */
export async function writeReport(options: ReportOptions): Promise<void> {
  const { reportPath, requireSurely } = options.directory;
  await writeResultFile(reportPath, reportOf(options), requireSurely);
}

/** The text of a report. */
export function reportOf({ directory, summary, model, config, classNames }: ReportOptions): string {
  const { name, weightsSha256 } = summary;
  const sections = [
    section('Metrics', metricsTable(summary)),
    ...classTables(summary, classNames),
    plotsSection(directory),
    section('Epochs', epochsTable(directory.metricsPath)),
    section('Model', modelTable(model)),
    section('Events', eventsTable(directory.eventsPath)),
    section('Config', `<pre>${escapeHtml(cutConfig(config))}</pre>`),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(name)} · Lockstep</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>${escapeHtml(name)}</h1>
<p>${escapeHtml(describe(summary))}</p>
</header>
<main>
${sections.filter((text) => text !== '').join('\n')}
</main>
<footer>weights sha256 ${escapeHtml(weightsSha256)} · seed ${summary.seed}, ${escapeHtml(summary.numerics)} kernels · Lockstep ${escapeHtml(VERSION)}</footer>
</body>
</html>
`;
}

function describe(summary: Summary): string {
  const { epochs, steps, samplesSeen, trainSeconds, samplesPerSecond, threads, workers, best, stoppedEarly } =
    summary;
  const computers = threads === undefined ? countOf(workers, 'worker') : countOf(threads, 'thread');
  const work = `${countOf(epochs, 'epoch')}, ${countOf(steps, 'step')}, ${countOf(samplesSeen, 'sample')}`;
  const speed = `${formatDuration(trainSeconds)} (${formatCount(samplesPerSecond)} samples/s, ${computers})`;
  const ending = stoppedEarly === undefined ? '' : `; stopped early after epoch ${stoppedEarly}`;
  return `${work} in ${speed}; best epoch ${best.epoch}${ending}`;
}

function metricsTable(summary: Summary): string {
  const columns = metricColumns(summary);
  return tableOf(['', ...columns.map(([split]) => split)], metricRows(columns));
}

function classTables({ validation, test }: Summary, names: readonly string[]): string[] {
  const table = (split: string, metrics: SplitMetrics | undefined): string => {
    if (!metrics?.perClass) return '';
    const rows = metrics.perClass
      .slice(0, MAX_CLASSES)
      .map(({ precision, recall, f1, support }, label) => [
        names[label] ?? String(label),
        ...[precision, recall, f1].map(formatMetric),
        formatCount(support),
      ]);
    const more = leftOut(metrics.perClass.length, MAX_CLASSES, 'classes');
    return section(
      `Classes (${split})`,
      tableOf(['class', 'precision', 'recall', 'F1', 'rows'], rows) + more,
    );
  };
  return [table('validation', validation), table('test', test)];
}

/** Plots as data of the file: one does not disturb another, as the ids in two inline SVGs would. */
function plotsSection({ plotsPath, drawnPlots }: RunDirectory): string {
  let bytesLeft = MAX_PLOT_BYTES;
  const figures = drawnPlots.map((name) => {
    const found = ['svg', 'png'].flatMap((type) => {
      const file = path.join(plotsPath, `${name}.${type}`);
      return fs.existsSync(file) ? [{ file, type, size: fs.statSync(file).size }] : [];
    });
    const chosen = found.find(({ type, size }) => type === 'png' || size <= MAX_SVG_BYTES) ?? found[0];
    if (!chosen || chosen.size > bytesLeft) return '';
    bytesLeft -= chosen.size;
    const kind = chosen.type === 'svg' ? 'image/svg+xml' : 'image/png';
    const data = fs.readFileSync(chosen.file).toString('base64');
    const title = escapeHtml(name.replaceAll('-', ' '));
    return `<figure><img alt="${title}" src="data:${kind};base64,${data}"></figure>`;
  });
  const shown = figures.filter((figure) => figure !== '');
  return shown.length === 0 ? '' : section('Plots', `<div class="plots">${shown.join('\n')}</div>`);
}

function epochsTable(metricsPath: string): string {
  const records: Record<string, unknown>[] = [];
  // One by one: those of the steps of a long run fit no memory.
  for (const record of readRecords(metricsPath)) if ('train/loss' in record) records.push(record);
  const names = [...new Set(records.flatMap((record) => Object.keys(record)))].filter((name) =>
    /^(train|val)\//.test(name),
  );
  // Equally spaced, with the last one.
  const count = Math.min(records.length, MAX_EPOCHS);
  const shown = Array.from(
    { length: count },
    (_, i) => records[Math.ceil(((i + 1) * records.length) / count) - 1]!,
  );
  const rows = shown.map((record) => [
    String(record['epoch']),
    ...names.map((name) => (name in record ? formatMetric(Number(record[name])) : '')),
  ]);
  return tableOf(['epoch', ...names], rows) + leftOut(records.length, MAX_EPOCHS, 'epochs');
}

function modelTable({ spec, stack, inputShape, numParameters, tensors }: Model): string {
  const layers = stack.layers.map((layer, index) => [
    `${index} ${spec.layers[index]?.kind ?? ''}`,
    formatShape(layer.outputShape),
    formatCount(layer.tensors.reduce((sum, { shape }) => sum + sizeOf(shape), 0)),
  ]);
  const sizes = `input ${formatShape(inputShape)}; ${countOf(numParameters, 'parameter')} in ${countOf(tensors.length, 'tensor')}`;
  const more = leftOut(layers.length, MAX_LAYERS, 'layers');
  return `<p>${escapeHtml(sizes)}</p>${tableOf(['layer', 'output', 'parameters'], layers.slice(0, MAX_LAYERS))}${more}`;
}

/** Events other than those of steps and epochs: the last ones, of many. */
function eventsTable(eventsPath: string): string {
  const events: string[][] = [];
  let count = 0;
  for (const { time, type, ...fields } of readRecords(eventsPath)) {
    if (type === 'stepDone' || type === 'epochDone' || typeof type !== 'string') continue;
    count++;
    const words = Object.entries(fields).map(([name, value]) => `${name} ${wordOf(value)}`);
    events.push([String(time), type, words.join(', ')]);
    if (events.length > MAX_EVENTS) events.shift();
  }
  return tableOf(['time', 'event', ''], events, 'texts') + leftOut(count, MAX_EVENTS, 'events');
}

function wordOf(value: unknown): string {
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : formatMetric(value);
  return shorten(String(value), MAX_TEXT);
}

function leftOut(count: number, shown: number, nouns: string): string {
  return count > shown ? `<p>${formatCount(shown)} of ${formatCount(count)} ${nouns}.</p>` : '';
}

function cutConfig(config: string): string {
  if (config.length <= MAX_CONFIG_LENGTH) return config;
  return `${config.slice(0, MAX_CONFIG_LENGTH)}\n… config.yaml has the rest`;
}

function section(title: string, content: string): string {
  return `<section><h2>${escapeHtml(title)}</h2>${content}</section>`;
}

function tableOf(head: readonly string[], rows: readonly (readonly string[])[], kind = 'numbers'): string {
  const cells = (row: readonly string[], tag: string): string =>
    row
      .map((text, column) =>
        column === 0
          ? `<th scope="${tag === 'th' ? 'col' : 'row'}">${escapeHtml(text)}</th>`
          : `<${tag}${tag === 'th' ? ' scope="col"' : ''}>${escapeHtml(text)}</${tag}>`,
      )
      .join('');
  const body = rows.map((row) => `<tr>${cells(row, 'td')}</tr>`).join('\n');
  return `<div class="scroll"><table class="${kind}"><thead><tr>${cells(head, 'th')}</tr></thead><tbody>${body}</tbody></table></div>`;
}

/** The text as it can stand between tags and in attributes; invisible characters are shown as escapes. */
function escapeHtml(text: string): string {
  return printable(text)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

const STYLE = `
:root { color-scheme: light; font: 15px/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #1b2430; background: #fff }
body { max-width: 68rem; margin: 0 auto; padding: 1.5rem clamp(.75rem, 3vw, 2rem) 3rem; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.1rem; margin: 0 0 .6rem }
header p, footer, section > p { color: #5a6675; margin: .3rem 0 }
section { margin-top: 2rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .28rem .9rem .28rem 0; text-align: right; border-bottom: 1px solid #e2e5ea; white-space: nowrap; font-weight: normal }
th:first-child, .texts th, .texts td { text-align: left } .texts td:last-child { white-space: normal }
.numbers th:first-child { min-width: 9rem; max-width: 26rem; white-space: normal }
thead th { color: #5a6675 }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 29rem), 1fr)); gap: 1rem; align-items: start }
figure { margin: 0; border: 1px solid #e2e5ea; border-radius: 8px; overflow: hidden; break-inside: avoid }
img { display: block; width: 100%; height: auto; max-height: 46rem; object-fit: contain }
pre { font: .8rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre-wrap; background: #f6f7f9; padding: .8rem; border-radius: 8px }
footer { margin-top: 2rem; font-size: .82rem }
@media print { body { padding: 0; max-width: none } .scroll { overflow: visible } tr { break-inside: avoid } h2 { break-after: avoid } pre { background: none; padding: 0 } .plots { grid-template-columns: 1fr 1fr } }
`;
