// `lockstep bench scale`: the same training on 1, 2, ... workers of a local cluster.
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { Cluster } from '../coordinator/cluster/cluster.ts';
import type { Batch } from '../coordinator/training/compute.ts';
import { initialState } from '../coordinator/training/prepare.ts';
import { localWorkforce, startCompute } from '../coordinator/start-compute.ts';
import { printText, printJson } from '../coordinator/output/results.ts';
import { LockstepError } from '../src/errors.ts';
import type { KernelWidth } from '../src/kernels/kernel-width.ts';
import { loadKernelModule } from '../src/kernels/kernels.ts';
import { createLogger } from '../src/log.ts';
import { formatBytes } from '../src/memory.ts';
import { formatCount } from '../src/printable.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { newTable } from './report.ts';
import { syntheticBatch, syntheticRun } from './workloads.ts';

/** Arguments of `lockstep bench scale`. */
export interface ScaleArguments {
  readonly workers: string;
  readonly threads: number;
  readonly steps: number;
  readonly json?: boolean;
}

interface Scaled {
  readonly workers: number;
  readonly samplesPerSecond: number;
  /** Speed-up over the first row, for each additional worker; this process alone counts as one. */
  readonly efficiency: number;
  readonly bytesPerStep: number;
  /** Share of the workers' time spent in kernels; the rest is communication, waiting and the optimizer. */
  readonly computeShare: number;
  readonly coordinatorPeakBytes: number;
  readonly workerPeakBytes: number;
  readonly weightsSha256: string;
}

/** Steps before measuring: compiling, connecting and first touches. */
const WARMUP_STEPS = 50;
/** Times that each worker count is measured, in turn, so that a drifting machine affects all alike. */
const ROUNDS = 3;

/** Measures each worker count and prints the figures. */
export async function benchScale(args: ScaleArguments): Promise<void> {
  const counts = parseCounts(args.workers);
  collectMessageBuffers();
  const measured = new Map<number, Omit<Scaled, 'efficiency'>[]>(counts.map((count) => [count, []]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const count of counts) measured.get(count)?.push(await measure(count, args));
  }
  const best = counts.map((count) => medianBySpeed(measured.get(count) ?? []));
  const base = best[0] as Omit<Scaled, 'efficiency'>;
  const results = best.map((row) => {
    const speedup = row.samplesPerSecond / base.samplesPerSecond;
    return { ...row, efficiency: (speedup * Math.max(base.workers, 1)) / Math.max(row.workers, 1) };
  });
  const isSameHash = new Set([...measured.values()].flat().map((row) => row.weightsSha256)).size === 1;
  const machine = {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    node: process.version,
    kernelWidth: (await loadKernelModule()).width,
  };
  const report = {
    workload: 'mlp-mnist',
    threads: args.threads,
    machine,
    date: new Date().toISOString(),
    results,
    isSameHash,
  };
  await (args.json ? printJson(report) : printText(formatReport(report)));
  if (!isSameHash) {
    throw new LockstepError({
      category: 'failure',
      code: 'E_BENCH_HASH',
      message: 'worker counts gave different weights',
    });
  }
}

async function measure(
  workers: number,
  { threads, steps }: ScaleArguments,
): Promise<Omit<Scaled, 'efficiency'>> {
  const prepared = await syntheticRun('mlp-mnist');
  const state = await initialState(prepared);
  const program = fileURLToPath(new URL('../bin/lockstep.js', import.meta.url));
  const compute = await startCompute({
    run: `bench-${workers}`,
    prepared,
    state,
    workforce: localWorkforce(workers, threads, program),
    log: createLogger({ level: 'error' }),
    signal: new AbortController().signal,
    onEvent: () => undefined,
  });
  try {
    const { batchSize } = prepared.config;
    const batch = (step: number): Batch => syntheticBatch(prepared, step);
    for (let step = 0; step < WARMUP_STEPS; step++) await compute.trainStep(batch(step));
    const counters = compute instanceof Cluster ? compute.counters : undefined;
    const before = { ...counters };
    const startedMs = performance.now();
    for (let step = 0; step < steps; step++) await compute.trainStep(batch(WARMUP_STEPS + step));
    const elapsedMs = performance.now() - startedMs;
    const bytes = counters
      ? counters.bytesSent + counters.bytesReceived - (before.bytesSent ?? 0) - (before.bytesReceived ?? 0)
      : 0;
    return {
      workers,
      samplesPerSecond: (steps * batchSize * 1000) / elapsedMs,
      bytesPerStep: bytes / steps,
      computeShare: counters ? (counters.computeMs - (before.computeMs ?? 0)) / (elapsedMs * workers) : 1,
      coordinatorPeakBytes: process.resourceUsage().maxRSS * 1024,
      workerPeakBytes: counters?.workerResidentBytes ?? 0,
      weightsSha256: state.weightsSha256(),
    };
  } finally {
    await compute.close('the benchmark is done', true);
  }
}

function medianBySpeed(rows: readonly Omit<Scaled, 'efficiency'>[]): Omit<Scaled, 'efficiency'> {
  const sorted = [...rows].sort((a, b) => a.samplesPerSecond - b.samplesPerSecond);
  return sorted[Math.floor(sorted.length / 2)] as Omit<Scaled, 'efficiency'>;
}

function parseCounts(text: string): number[] {
  const counts = text.split(',').map((part) => (/^\d{1,3}$/.test(part.trim()) ? Number(part) : Number.NaN));
  if (counts.every((count) => count >= 0)) return counts;
  throw new LockstepError({
    category: 'usage',
    code: 'E_BENCH_WORKERS',
    message: `--workers ${text}: expected whole numbers separated by commas`,
    help: 'for example --workers 1,2,4; 0 measures this process alone',
  });
}

function formatReport({
  machine,
  results,
  isSameHash,
  threads,
}: {
  readonly machine: { cpu: string; cores: number; node: string; kernelWidth: KernelWidth };
  readonly results: readonly Scaled[];
  readonly isSameHash: boolean;
  readonly threads: number;
}): string {
  const head = [
    'workers',
    'samples/s',
    'efficiency',
    'bytes/step',
    'computing',
    'elsewhere',
    'coordinator peak',
    'worker peak',
  ];
  const table = newTable(head);
  for (const row of results) {
    const share = 100 * row.computeShare;
    table.push([
      row.workers,
      formatCount(row.samplesPerSecond),
      `${(100 * row.efficiency).toFixed(0)} %`,
      formatBytes(Math.round(row.bytesPerStep)),
      `${share.toFixed(0)} %`,
      `${(100 - share).toFixed(0)} %`,
      formatBytes(row.coordinatorPeakBytes),
      formatBytes(row.workerPeakBytes),
    ]);
  }
  const hash = isSameHash
    ? `same weights everywhere: sha256 ${results[0]?.weightsSha256}`
    : 'DIFFERENT WEIGHTS';
  return `mlp-mnist (784-256-128-10, batch 256), ${threads} thread(s) a worker, medians of ${ROUNDS} runs\n${machine.cpu}, ${machine.cores} cores, Node.js ${machine.node}, ${machine.kernelWidth}-bit vectors\n${table.toString()}\n${hash}\n`;
}
