// The destinations of metrics that a user asked for, besides `metrics.jsonl`. One that cannot be opened is a
// warning, never the end of a run; what it needs is loaded only for it.
import path from 'node:path';
import { formatConfigYaml } from '../../src/config/config-text.ts';
import type { Config } from '../../src/config/schema.ts';
import type { Logger } from '../../src/log.ts';
import { shellWord } from '../../src/printable.ts';
import type { HttpDeadlines } from './http-client.ts';
import { hostAndPort } from '../../src/protocol/connection.ts';
import type { MetricLogger, MetricRecord } from './metric-logger.ts';
import type { RunDirectory } from './run-directory.ts';
import type { RemoteRun } from './remote-logger.ts';

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
      return new CsvMetricLogger(directory.csvPath, run.records, directory.requireHeld);
    });
  }
  if (tensorboard) {
    await open('TensorBoard', async () => {
      const { TensorboardLogger } = await import('./tensorboard-logger.ts');
      return new TensorboardLogger({
        folder: directory.tensorboardPath,
        config: formatConfigYaml(config),
        beforeChange: directory.requireHeld,
      });
    });
  }
  const { WANDB_MODE: mode } = process.env;
  const later = `lockstep runs sync ${shellWord(directory.path)}`;
  for (const { name, openRun } of await remoteRuns(config, directory.path, say)) {
    if (name === WANDB && mode && mode !== 'online') {
      say.info(`${name}: WANDB_MODE=${mode}: nothing is sent; to do so later: ${later}`);
      continue;
    }
    await open(name, async () => {
      const { RemoteLogger } = await import('./remote-logger.ts');
      return new RemoteLogger(openRun(), { metricsPath: directory.metricsPath, later, ...say });
    });
  }
  if (prometheus) {
    await open('Prometheus', async () => {
      const { PrometheusLogger } = await import('./prometheus-logger.ts');
      const logger = new PrometheusLogger({ run: config.name });
      const port = await logger.listen(prometheus);
      log.info(`Prometheus: metrics at http://${hostAndPort(prometheus.host, port)}/metrics`);
      return logger;
    });
  }
  return trackers;
}

const WANDB = 'Weights & Biases';

/** A service over the network that a run is to be recorded at. */
export interface RemoteTracker {
  /** Its name, for warnings. */
  readonly name: string;
  /** Throws an error that says what is wrong with its settings. */
  readonly openRun: (deadlines?: HttpDeadlines) => RemoteRun;
}

/** The services that the config and the environment name. */
export async function remoteRuns(
  config: Config,
  directory: string,
  { info }: { readonly info: (message: string) => void },
): Promise<RemoteTracker[]> {
  const [{ mlflowIntent, MlflowRun }, { wandbIntent, WandbRun }, { HttpClient }] = await Promise.all([
    import('./mlflow-run.ts'),
    import('./wandb-run.ts'),
    import('./http-client.ts'),
  ]);
  const mlflow = mlflowIntent(config);
  const wandb = wandbIntent(config);
  const run = { config, directory, info };
  const trackers: RemoteTracker[] = [];
  if (mlflow) {
    const name = path.basename(path.resolve(directory));
    const openRun = (deadlines?: HttpDeadlines): RemoteRun =>
      new MlflowRun({ ...run, ...mlflow, name, http: new HttpClient(deadlines) });
    trackers.push({ name: 'MLflow', openRun });
  }
  if (wandb) {
    const openRun = (deadlines?: HttpDeadlines): RemoteRun =>
      new WandbRun({ ...run, ...wandb, http: new HttpClient(deadlines) });
    trackers.push({ name: WANDB, openRun });
  }
  return trackers;
}
