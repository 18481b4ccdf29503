// The benchmarks that run on a user's own config: their figures are those of real steps, whatever the speed.
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { TraceEvent } from '../../src/trace.ts';
import { runCli } from '../helpers/cli.ts';
import { tableRun } from '../helpers/table-run.ts';

it('bench scale measures threads and workers on a config, to the same weights, and draws them', async () => {
  const cwd = tableRun();
  const lists = ['--workers', '0,1', '--threads', '1,2', '--steps', '3', '--rounds', '1'];
  const flags = [...lists, '--svg', 'scale.svg', '--json'];
  const { exitCode, stdout, stderr } = await runCli(['bench', 'scale', 'table.yaml', ...flags], { cwd });
  expect(exitCode, stderr).toBe(0);
  const report = JSON.parse(stdout) as { isSameHash: boolean; results: Record<string, number>[] };
  expect(report).toMatchObject({ workload: 'table.yaml', steps: 3, isSameHash: true });
  expect(report.results.map(({ workers, threads }) => [workers, threads])).toEqual([
    [0, 1],
    [0, 2],
    [1, 1],
    [1, 2],
  ]);
  for (const { computingMs, wallMs } of report.results) {
    expect(computingMs).toBeGreaterThan(0);
    expect(computingMs).toBeLessThan(wallMs as number);
  }
  const svg = fs.readFileSync(path.join(cwd, 'scale.svg'), 'utf8');
  for (const text of ['<svg', '2 threads', '1 worker of 2 threads', 'computing']) expect(svg).toContain(text);
});

it('bench step records what the coordinator, a worker and its threads do', async () => {
  const cwd = tableRun();
  const flags = ['--workers', '1', '--threads', '2', '--steps', '2', '--output', 'trace.json'];
  const { exitCode, stdout, stderr } = await runCli(['bench', 'step', 'table.yaml', ...flags], { cwd });
  expect(exitCode, stderr).toBe(0);
  expect(stdout).toContain('forward layer 0: dense 8 -> 64 relu');
  const { traceEvents } = JSON.parse(fs.readFileSync(path.join(cwd, 'trace.json'), 'utf8')) as {
    readonly traceEvents: readonly TraceEvent[];
  };
  expect(new Set(traceEvents.map(({ pid }) => pid)).size).toBe(2);
  const forward = traceEvents.filter(({ name }) => name === 'forward layer 1: dense 64 -> 1');
  expect(forward.map(({ tid }) => tid).toSorted()).toEqual([1, 1, 2, 2]);
});
