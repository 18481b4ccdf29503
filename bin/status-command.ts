// `lockstep status`: what a coordinator says about its run.
import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { plainTable } from '../coordinator/output/plain-table.ts';
import { printJson, printText } from '../coordinator/output/results.ts';
import type { StandbyReport, StatusReport } from '../coordinator/output/run-status.ts';
import { LockstepError, systemErrorCode } from '../src/errors.ts';
import { parseJson } from '../src/json.ts';
import { formatBytes } from '../src/memory.ts';
import {
  countOf,
  formatCount,
  formatDuration,
  formatMetric,
  formatSize,
  printable,
} from '../src/printable.ts';
import { clientTlsOf, readTls, type TlsFlags } from '../src/protocol/tls.ts';
import { readToken } from '../src/protocol/token.ts';
import { createRuntime } from './runtime.ts';

/** Arguments of `lockstep status`. */
export interface StatusArguments extends TlsFlags {
  readonly tokenFile?: string;
  readonly watch?: number;
  readonly json?: boolean;
}

/** Longest silence. */
const TIMEOUT_MS = 10_000;
/** Time for the whole answer. */
const DEADLINE_MS = 60_000;
/** 1,024 workers take some 300 KB. */
const MAX_ANSWER_BYTES = 2 ** 22;

/** Prints the status of the run of a coordinator; again and again, if it is to be watched. */
export async function showStatus(url: string, args: StatusArguments): Promise<void> {
  const { log, signal } = createRuntime();
  const token = readToken({ file: args.tokenFile, env: process.env, warn: (message) => log.warn(message) });
  const tls = readTls(clientTlsOf(args, [url]), log);
  const address = new URL('status', url.replace(/^ws/, 'http').replace(/\/?$/, '/'));
  for (;;) {
    const report = await fetchReport(address, { token, tls });
    await (args.json ? printJson(report) : printText(`${formatStatus(report)}\n`));
    if (args.watch === undefined) return;
    await sleep(args.watch * 1000, undefined, { signal }).catch(() => undefined);
    signal.throwIfAborted();
  }
}

function fetchReport(
  url: URL,
  { token, tls }: { readonly token: string | undefined; readonly tls: https.RequestOptions },
): Promise<StatusReport> {
  return new Promise((resolve, reject) => {
    const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    const options = { headers, timeout: TIMEOUT_MS, ...(url.protocol === 'https:' && tls) };
    const fail = (error: Error): void => reject(unreachable(url, error));
    const request = (url.protocol === 'https:' ? https : http).get(url, options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        if (text.length > MAX_ANSWER_BYTES) request.destroy(new Error('its answer has no end'));
      });
      response.once('error', fail);
      response.once('end', () => {
        const { statusCode = 0 } = response;
        const report = statusCode === 200 ? parseReport(text) : undefined;
        if (report) resolve(report);
        else reject(refused(url, statusCode, text));
      });
    });
    request.setTimeout(TIMEOUT_MS, () =>
      request.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)),
    );
    request.once('error', fail);
    const late = new Error(`no whole answer within ${DEADLINE_MS / 1000} s`);
    const timer = setTimeout(() => request.destroy(late), DEADLINE_MS);
    request.once('close', () => clearTimeout(timer));
  });
}

/** The report, if the text looks like one. */
function parseReport(text: string): StatusReport | undefined {
  try {
    const report = parseJson(text) as StatusReport;
    // Something else may have these fields; what cannot be laid out is no report.
    formatStatus(report);
    return typeof report.state === 'string' && Array.isArray(report.workers) ? report : undefined;
  } catch {
    return undefined;
  }
}

/** Lays the report out for people. */
export function formatStatus(report: StatusReport): string {
  const {
    epoch,
    epochs,
    joinHint,
    metrics,
    minWorkers,
    name,
    numWorkers,
    samplesPerSecond,
    state,
    step,
    steps,
  } = report;
  const speed = samplesPerSecond === null ? [] : [`${formatSize(samplesPerSecond)} samples/s`];
  const place =
    steps === null
      ? []
      : [`epoch ${epoch} of ${epochs}`, `step ${formatCount(step)} of ${formatCount(steps)}`];
  const values = Object.entries(metrics).map(
    ([metric, value]) => `  ${metric.padEnd(20)} ${formatMetric(Number(value))}`,
  );
  if (report.standby)
    return printable(`${name}: standby, ${formatDuration(report.seconds)}\n${formatStandby(report.standby)}`);
  const lines = [
    `${name}: ${[state, ...place, ...speed, formatDuration(report.seconds)].join(', ')}`,
    ...(report.directory === null ? [] : [`run directory ${report.directory}`]),
    ...(values.length === 0 ? [] : ['', ...values]),
    '',
    `${countOf(numWorkers, 'worker')}; a step requires ${minWorkers}`,
  ];
  if (state === 'waiting' && joinHint !== null) lines.push(joinHint);
  if (report.workers.length > 0) lines.push('', tableOf(report.workers));
  return printable(lines.join('\n'));
}

function formatStandby({
  address,
  leader,
  leaseSeconds,
  newestCheckpoint,
  silentSeconds,
  step,
}: StandbyReport): string {
  const lease = leaseSeconds === null ? 'no lease' : `lease ${leaseSeconds} s`;
  return [
    `${leader} leads${address === null ? '' : `, at ${address}`}`,
    `last sign of life ${silentSeconds.toFixed(1)} s ago (${lease})`,
    `step ${formatCount(step)}, newest checkpoint ${newestCheckpoint === null ? 'none' : formatCount(newestCheckpoint)}`,
  ].join('\n');
}

function tableOf(workers: StatusReport['workers']): string {
  const rows = workers.map((worker) => [
    worker.name,
    worker.address,
    String(worker.threads),
    formatSize(worker.tasks),
    formatSize(worker.shards),
    formatDuration(worker.computeMs / 1000),
    formatBytes(Math.round(worker.bytesSent)),
    formatBytes(worker.bytesReceived),
    String(worker.failures),
  ]);
  const head = [
    'worker',
    'address',
    '>threads',
    '>tasks',
    '>shards',
    '>computed',
    '>sent',
    '>received',
    '>failed',
  ];
  return plainTable(head, rows);
}

function refused(url: URL, statusCode: number, text: string): LockstepError {
  const answer = printable(text.trim().split('\n')[0]?.slice(0, 200) ?? '');
  const isToken = statusCode === 401;
  return new LockstepError({
    category: 'network',
    code: isToken ? 'E_UNAUTHORIZED' : 'E_STATUS',
    message: `${url.host} does not tell the status of a run (HTTP ${statusCode}: ${answer})`,
    help: isToken
      ? 'give the token of the coordinator by --token-file or LOCKSTEP_TOKEN'
      : 'give the URL by which workers reach the coordinator',
  });
}

function unreachable(url: URL, error: Error): LockstepError {
  return new LockstepError({
    category: 'network',
    code: 'E_STATUS',
    message: `cannot ask ${url.host}: ${error.message || (systemErrorCode(error) ?? 'no connection')}`,
    help: 'check URL and network; a run that is over has no port any more: see its run directory',
    cause: error,
  });
}
