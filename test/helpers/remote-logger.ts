// A `RemoteLogger` with the file of records that a run has, for the tests of the services.
import path from 'node:path';
import { JsonlMetricLogger, type MetricRecord } from '../../coordinator/output/metric-logger.ts';
import {
  RemoteLogger,
  type RemoteLoggerOptions,
  type RemoteRun,
} from '../../coordinator/output/remote-logger.ts';

export interface RecordedRun {
  readonly logger: RemoteLogger;
  readonly infos: string[];
  readonly warnings: string[];
  /** Writes a record, and says so. */
  readonly log: (record: MetricRecord) => void;
  /** Cuts the records back to those up to a step, as a run that goes back. */
  readonly goBackTo: (step: number) => void;
}

/** The record of a step. */
export function stepRecord(step: number, values: Readonly<Record<string, number>> = {}): MetricRecord {
  return { _step: step, _runtime: step / 4, _timestamp: 1000 + step / 4, lr: 0.5, ...values };
}

/** Opens the records of the run in a directory, and a logger that sends them. */
export function recordTo(
  openRun: (say: { readonly info: (message: string) => void }) => RemoteRun,
  directory: string,
  options: Partial<RemoteLoggerOptions> = {},
): RecordedRun {
  const infos: string[] = [];
  const warnings: string[] = [];
  const metricsPath = path.join(directory, 'metrics.jsonl');
  const file = new JsonlMetricLogger(metricsPath);
  const info = (message: string): number => infos.push(message);
  const logger = new RemoteLogger(openRun({ info }), {
    metricsPath,
    later: 'lockstep runs sync RUN',
    info,
    warn: (message) => warnings.push(message),
    ...options,
  });
  return {
    logger,
    infos,
    warnings,
    log: (record) => {
      file.log(record);
      logger.log();
    },
    goBackTo: (step) => {
      file.keepLeading(({ _step }) => Number(_step) <= step);
      logger.restart(file.records());
    },
  };
}
