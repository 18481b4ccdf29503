// The destinations of metrics that a user asked for, besides `metrics.jsonl`. One that cannot be opened is a
// warning, never the end of a run; what it needs is loaded only for it.
import path from 'node:path';
import { formatConfigYaml } from '../../src/config/config-text.ts';
import type { Config } from '../../src/config/schema.ts';
import type { Logger } from '../../src/log.ts';
import type { MetricLogger, MetricRecord } from './metric-logger.ts';
import type { RunDirectory } from './run-directory.ts';
import { wandbIntent, WandbLogger } from './wandb-logger.ts';

/** The run that trackers are opened for. */
export interface TrackedRun {
  readonly config: Config;
  readonly directory: RunDirectory;
  readonly log: Logger;
  /** All records so far. */
  readonly records: () => Iterable<MetricRecord>;
}

/** Opens the trackers of a run, by the names that warnings give them. */
export async function openTrackers(run: TrackedRun): Promise<Map<string, MetricLogger>> {
  const { config, directory, log } = run;
  const { csv, tensorboard, prometheus } = config.tracking;
  const say = { info: (message: string) => log.info(message), warn: (message: string) => log.warn(message) };
  const trackers = new Map<string, MetricLogger>();
  const open = async (name: string, opener: () => Promise<MetricLogger>): Promise<void> => {
    try {
      trackers.set(name, await opener());
    } catch (error) {
      say.warn(`${name}: ${(error as Error).message}; metrics are in the run directory only`);
    }
  };
  if (csv) {
    await open('metrics.csv', async () => {
      const { CsvMetricLogger } = await import('./csv-logger.ts');
      return new CsvMetricLogger(directory.csvPath, run.records);
    });
  }
  if (tensorboard) {
    await open('TensorBoard', async () => {
      const { TensorboardLogger } = await import('./tensorboard-logger.ts');
      return new TensorboardLogger({ folder: directory.tensorboardPath, config: formatConfigYaml(config) });
    });
  }
  const { mlflowIntent, MlflowLogger } = await import('./mlflow-logger.ts');
  const mlflow = mlflowIntent(config);
  if (mlflow) {
    const name = path.basename(path.resolve(directory.path));
    const options = { ...mlflow, name, config, directory: directory.path };
    await open('MLflow', () => Promise.resolve().then(() => new MlflowLogger(options, say)));
  }
  if (prometheus) {
    await open('Prometheus', async () => {
      const { PrometheusLogger } = await import('./prometheus-logger.ts');
      const logger = new PrometheusLogger({ run: config.name });
      const port = await logger.listen(prometheus);
      log.info(`Prometheus: metrics at http://${prometheus.host}:${port}/metrics`);
      return logger;
    });
  }
  const wandb = wandbIntent(config, config.name);
  if (wandb.kind === 'disabled') log.info(`Weights & Biases: ${wandb.reason}`);
  if (wandb.kind === 'on') {
    const idFile = path.join(directory.path, 'wandb.json');
    await open('Weights & Biases', () =>
      Promise.resolve().then(() => new WandbLogger({ ...wandb.run, idFile }, say)),
    );
  }
  return trackers;
}
