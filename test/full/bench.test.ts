// The benchmarks that run on a user's own config: their figures are those of real steps, whatever the speed.
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import type { TraceEvent } from '../../src/trace-file.ts';
import { runCli } from '../helpers/cli.ts';
import { tableRun } from '../helpers/table-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

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

it.each([
  ['star', []],
  ['tree', ['--topology', 'tree', '--fan-in', '2']],
])('bench network measures trainings of a %s over slow links', async (topology, flags) => {
  const cwd = tableRun();
  const links = ['--workers', '3', '--bandwidth', '8mbit', '--latency', '2ms', ...flags];
  const args = ['bench', 'network', 'table.yaml', ...links, '--steps', '3', '--rounds', '1', '--json'];
  const { exitCode, stdout, stderr } = await runCli(args, { cwd });
  expect(exitCode, stderr).toBe(0);
  const report = JSON.parse(stdout) as { results: Record<string, number>[] };
  expect(report).toMatchObject({ workload: 'table.yaml', topology, rounds: 1, results: [{ workers: 3 }] });
  const [row] = report.results;
  // 641 parameters, to and from a worker: on a busy machine others may be too slow to get shards.
  expect(row?.['bytesUp']).toBeGreaterThanOrEqual(641 * 4);
  expect(row?.['bytesDown']).toBeGreaterThanOrEqual(641 * 4);
  // No step is faster than a round trip.
  expect(row?.['stepMs']).toBeGreaterThan(4);
});

it('bench network refuses trees that it cannot shape, and speeds that are none', async () => {
  const cwd = temporaryDirectory();
  const tree = ['bench', 'network', '--workers', '7', '--topology', 'tree', '--fan-in', '2'];
  const deep = await runCli(tree, { cwd });
  expect(deep.exitCode).toBe(2);
  expect(deep.stderr).toContain('7 workers with --fan-in 2 are a tree of more than two levels');
  expect(deep.stderr).toContain('give --fan-in at least 3');
  const slow = await runCli(['bench', 'network', '--bandwidth', 'fast'], { cwd });
  expect(slow.exitCode).toBe(2);
  expect(slow.stderr).toContain('--bandwidth fast: expected a speed from 1mbit on');
});

it('bench simulate predicts clusters of several sizes', async () => {
  const cwd = tableRun();
  const flags = ['--workers', '1,4', '--topology', 'tree', '--fan-in', '2', '--shards', '4', '--json'];
  const { exitCode, stdout, stderr } = await runCli(['bench', 'simulate', 'table.yaml', ...flags], { cwd });
  expect(exitCode, stderr).toBe(0);
  const report = JSON.parse(stdout) as { results: Record<string, number>[] };
  expect(report).toMatchObject({ workload: 'table.yaml', numShards: 4, fanIn: 2, bandwidth: '1gbit' });
  const [one, four] = report.results;
  expect([one?.['workers'], four?.['workers']]).toEqual([1, 4]);
  // Four workers below two places, so two of them are the coordinator's.
  expect(four?.['bytesDown']).toBeGreaterThan(1.9 * (one?.['bytesDown'] as number));
  expect(four?.['bytesDown']).toBeLessThan(2.1 * (one?.['bytesDown'] as number));
  // No step is faster than a round trip.
  for (const { stepMs } of report.results) expect(stepMs).toBeGreaterThan(2);
});
