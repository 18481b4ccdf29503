// MLflow and Weights & Biases: what they get of a training, and by `lockstep runs sync` of one that was offline.
import fs from 'node:fs';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { MetricRecord } from '../../coordinator/output/metric-logger.ts';
import { readRecords } from '../../src/line-file.ts';
import { CliProcess, runCli, type CliResult } from '../helpers/cli.ts';
import { startFakeMlflow } from '../helpers/fake-mlflow.ts';
import { startFakeWandb } from '../helpers/fake-wandb.ts';
import { tableRun } from '../helpers/table-run.ts';

/** Nothing listens on the port for this purpose of every machine. */
const NOBODY = 'http://127.0.0.1:9';
const SYNC = ['runs', 'sync', 'first'];

/** The environment of a user of both services, who has no file with passwords. */
function services(mlflow: string, wandb: string): Record<string, string> {
  return {
    HOME: '/nonexistent',
    MLFLOW_TRACKING_URI: mlflow,
    WANDB_PROJECT: 'homes',
    WANDB_API_KEY: 'key',
    WANDB_BASE_URL: wandb,
  };
}

/** Trains away from both services. */
async function trainOffline(epochs = 2): Promise<{ cwd: string; stderr: string; records: MetricRecord[] }> {
  const cwd = tableRun({ epochs });
  const env = { ...services(NOBODY, NOBODY), WANDB_MODE: 'offline' };
  const { exitCode, stderr } = await runCli(['train', 'table.yaml', '--run-dir', 'runs/first'], { cwd, env });
  expect(exitCode, stderr).toBe(0);
  const records = [...readRecords(path.join(cwd, 'runs/first/metrics.jsonl'))] as unknown as MetricRecord[];
  return { cwd, stderr, records };
}

it('a run that was trained offline is recorded by one command, with its times, and not twice by two', async () => {
  const { cwd, stderr, records } = await trainOffline();
  expect(stderr).toContain(
    'Weights & Biases: WANDB_MODE=offline: nothing is sent; to do so later: lockstep runs sync runs/first',
  );
  expect(stderr).toMatch(
    /MLflow: fetch failed: .*; nothing more is sent; .*: lockstep runs sync runs\/first/,
  );
  const [mlflow, wandb] = [await startFakeMlflow(), await startFakeWandb()];
  onTestFinished(async () => void (await Promise.all([mlflow.close(), wandb.close()])));
  // A mode that is set for all trainings does not keep the command from its task.
  const env = { ...services(mlflow.url, wandb.url), WANDB_MODE: 'offline' };
  const first = await runCli(SYNC, { cwd, env });
  expect(first.exitCode, first.stderr).toBe(0);
  expect(first.stderr).toContain(`MLflow: ${records.length} records and 4 files are there`);
  expect(first.stderr).toContain(`W&B: ${records.length} records and 4 files are there`);
  const result = wandb.history.at(-1);
  expect(wandb.history.slice(0, -1)).toEqual(records);
  expect(result).toMatchObject({ _step: records.at(-1)?._step, 'best/epoch': 2 });
  const values = mlflow.runs.get('run1')?.metrics ?? [];
  const expected = records.map(({ _step, _timestamp }) => [_step, Math.round(1000 * _timestamp)]);
  expect(values.filter(({ key }) => key === 'epoch').map(({ step, timestamp }) => [step, timestamp])).toEqual(
    expected,
  );
  expect(mlflow.runs.get('run1')?.status).toBe('FINISHED');
  expect({ exitCode: wandb.exitCode, uploaded: wandb.uploaded }).toEqual({
    exitCode: 0,
    uploaded: [
      'lockstep/config.yaml',
      'lockstep/summary.json',
      'lockstep/model/config.json',
      'lockstep/model/model.safetensors',
    ],
  });
  const numFiles = mlflow.artifacts.size;
  const second = await runCli(SYNC, { cwd, env });
  expect(second.exitCode, second.stderr).toBe(0);
  expect(wandb.history).toHaveLength(records.length + 1);
  expect(wandb.history.at(-1)).toEqual(result);
  expect(wandb.streams.size).toBe(1);
  expect([...mlflow.runs.keys()]).toEqual(['run1']);
  expect(mlflow.runs.get('run1')?.metrics).toEqual(values);
  expect(mlflow.artifacts.size).toBe(numFiles);
});

it('a training that reaches both services records everything itself, plots as images included', async () => {
  const [mlflow, wandb] = [await startFakeMlflow(), await startFakeWandb()];
  onTestFinished(async () => void (await Promise.all([mlflow.close(), wandb.close()])));
  const cwd = tableRun({ epochs: 2, plots: true });
  const args = ['train', 'table.yaml', '--run-dir', 'runs/first'];
  const { exitCode, stderr } = await runCli(args, { cwd, env: services(mlflow.url, wandb.url) });
  expect(exitCode, stderr).toBe(0);
  const records = [...readRecords(path.join(cwd, 'runs/first/metrics.jsonl'))];
  expect(wandb.history.slice(0, -1)).toEqual(records);
  const plots = fs.readdirSync(path.join(cwd, 'runs/first/plots')).filter((name) => name.endsWith('.png'));
  expect(plots.length).toBeGreaterThan(3);
  const images = Object.entries(wandb.history.at(-1) ?? {}).filter(([name]) => name.startsWith('plots/'));
  expect(images.map(([name]) => `${name.slice('plots/'.length)}.png`).sort()).toEqual(plots.sort());
  for (const name of plots) {
    const file = fs.readFileSync(path.join(cwd, 'runs/first/plots', name));
    expect(wandb.files.get(`media/images/plots/${name}`)?.equals(file)).toBe(true);
  }
  expect({ wandb: wandb.exitCode, mlflow: mlflow.runs.get('run1')?.status }).toEqual({
    wandb: 0,
    mlflow: 'FINISHED',
  });
  expect(mlflow.runs.get('run1')?.metrics.filter(({ key }) => key === 'epoch')).toHaveLength(records.length);
});

it('a service that is away is the error of the command, though others get the run, and Ctrl-C ends its wait for one that hangs', async () => {
  const { cwd } = await trainOffline(1);
  const run = (mlflow: string): Promise<CliResult> => runCli(SYNC, { cwd, env: services(mlflow, NOBODY) });
  const away = await run(NOBODY);
  expect(away.exitCode).toBe(5);
  expect(away.stderr).toMatch(
    /error\[E_TRACKER\]: MLflow: fetch failed: .*; nothing more is sent.*\n +help: the same command goes on from there/,
  );
  const wandb = await startFakeWandb();
  onTestFinished(() => wandb.close());
  const other = await runCli(SYNC, { cwd, env: services(NOBODY, wandb.url) });
  expect(other.exitCode).toBe(5);
  expect(wandb.exitCode).toBe(0);
  const hanging = await startFakeMlflow();
  onTestFinished(() => hanging.close());
  hanging.trouble = 'hang';
  const command = CliProcess.start(SYNC, { cwd, env: services(hanging.url, NOBODY) });
  await expect.poll(() => hanging.numRequests, { timeout: 20_000 }).toBe(1);
  const startedMs = performance.now();
  command.signal('SIGINT');
  expect(await command.finished).toMatchObject({ exitCode: 130 });
  expect(performance.now() - startedMs).toBeLessThan(3000);
  expect(fs.existsSync(path.join(cwd, 'runs/first/lock'))).toBe(false);
});

it('a run that names no service, one that goes on, and a key that is missing are errors of usage', async () => {
  const cwd = tableRun({ epochs: 100_000 });
  const going = CliProcess.start(['train', 'table.yaml', '--run-dir', 'runs/first'], { cwd });
  await going.untilStderr(/epoch +1\//);
  expect(await runCli(SYNC, { cwd })).toEqual({
    exitCode: 2,
    stdout: '',
    stderr:
      'error[E_TRACKER]: neither the config of runs/first nor the environment names a service to send it to\n' +
      '  help: set MLFLOW_TRACKING_URI, or WANDB_PROJECT and WANDB_API_KEY\n',
  });
  const busy = await runCli(SYNC, { cwd, env: services(NOBODY, NOBODY) });
  expect([busy.exitCode, busy.stderr]).toEqual([2, expect.stringContaining('error[E_RUN_IN_USE]')]);
  going.signalTree('SIGKILL');
  await going.finished;
  expect(await runCli(SYNC, { cwd, env: { HOME: '/nonexistent', WANDB_PROJECT: 'homes' } })).toEqual({
    exitCode: 2,
    stdout: '',
    stderr: 'error[E_TRACKER]: Weights & Biases: there is no key: set WANDB_API_KEY\n',
  });
});
