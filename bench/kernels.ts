// `lockstep bench kernels`: matrix products, packing included, against the peak of the same core.
import os from 'node:os';
import Table from 'cli-table3';
import { TILE_COLUMNS, TILE_ROWS, packedLeftLength } from '../src/kernels/tile.ts';
import { instantiateKernels, loadKernelModule } from '../src/kernels/kernels.ts';
import type { Kernels } from '../src/kernels/kernels.ts';
import { Memory } from '../src/memory.ts';

/** One product of the benchmark: C[m, n] = A B over depth k. */
interface Shape {
  readonly name: string;
  readonly layout: 'NN' | 'NT' | 'TN';
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

interface Measured extends Shape {
  readonly gflops: number;
  /** Median over rounds of gflops / peak, both measured in the same round. */
  readonly shareOfPeak: number;
}

const ROUNDS = 15;
const FLOPS_PER_ROUND = 4e8;
const PEAK_FLOPS_PER_ITERATION = 96;

const square = (size: number): Shape[] =>
  (['NN', 'NT', 'TN'] as const).map((layout) => ({
    name: `${size} square`,
    layout,
    m: size,
    n: size,
    k: size,
  }));
const SHAPES: readonly Shape[] = [
  ...square(192),
  ...square(384),
  ...square(768),
  { name: 'forward, 32 rows', layout: 'NT', m: 32, n: 256, k: 784 },
  { name: 'input gradient, 32 rows', layout: 'NN', m: 32, n: 256, k: 128 },
  { name: 'weight gradient, 32 rows', layout: 'TN', m: 256, n: 784, k: 32 },
];

/** Arguments of `lockstep bench kernels`. */
export interface KernelsArguments {
  readonly json?: boolean;
}

/** Measures and prints. */
export async function benchKernels({ json }: KernelsArguments): Promise<void> {
  const { module } = await loadKernelModule();
  const memory = new Memory();
  const kernels = await instantiateKernels(module, memory.wasm);
  const peak = (): number => {
    const iterations = Math.round(FLOPS_PER_ROUND / PEAK_FLOPS_PER_ITERATION);
    return rate(FLOPS_PER_ROUND, () => kernels.peakMultiplyAdd(iterations));
  };
  const peaks: number[] = [];
  const results = SHAPES.map((shape): Measured => {
    const multiply = product(kernels, memory, shape);
    const flops = 2 * shape.m * shape.n * shape.k;
    const repeats = Math.ceil(FLOPS_PER_ROUND / flops);
    const rounds = Array.from({ length: ROUNDS }, () => {
      const peakRate = peak();
      peaks.push(peakRate);
      const own = rate(flops * repeats, () => {
        for (let repeat = 0; repeat < repeats; repeat++) multiply();
      });
      return { own, share: own / peakRate };
    });
    return {
      ...shape,
      gflops: median(rounds.map((r) => r.own)),
      shareOfPeak: median(rounds.map((r) => r.share)),
    };
  });
  const machine = {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    node: process.version,
    date: new Date().toISOString(),
  };
  const report = { machine, peakGflops: median(peaks), results };
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report));
}

/** A closure that packs both operands and multiplies. */
function product(kernels: Kernels, memory: Memory, { layout, m, n, k }: Shape): () => void {
  const allocate = (length: number): number => memory.allocate(4 * length, 'the benchmark');
  const [a, b, c] = [allocate(m * k), allocate(k * n), allocate(m * n)];
  memory.f32(a, m * k).fill(0.5);
  memory.f32(b, k * n).fill(0.25);
  const packedA = allocate(packedLeftLength(m, k));
  const packedB = allocate((n + TILE_COLUMNS) * k);
  const tiles = allocate(12 * TILE_ROWS * TILE_COLUMNS);
  const panelsB = Math.ceil(n / TILE_COLUMNS);
  return () => {
    if (layout === 'TN') kernels.packLeftColumns(a, m, k, m, packedA);
    else kernels.packLeftRows(a, m, k, k, packedA);
    if (layout === 'NT') kernels.packRightRows(b, n, k, k, packedB, 0, panelsB);
    else kernels.packRightColumns(b, n, k, n, packedB, 0, panelsB);
    kernels.gemmPacked(m, n, k, packedA, packedB, c, n, tiles);
  };
}

function rate(flops: number, run: () => void): number {
  const startedMs = performance.now();
  run();
  return flops / (performance.now() - startedMs) / 1e6;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
}

function formatReport(report: {
  readonly machine: { cpu: string; node: string };
  readonly peakGflops: number;
  readonly results: readonly Measured[];
}): string {
  const table = new Table({
    head: ['product', 'layout', 'm', 'n', 'k', 'GFLOP/s', 'of peak'],
    style: { head: [], border: [] },
  });
  for (const { name, layout, m, n, k, gflops, shareOfPeak } of report.results) {
    table.push([name, layout, m, n, k, gflops.toFixed(1), `${(100 * shareOfPeak).toFixed(0)} %`]);
  }
  const { cpu, node } = report.machine;
  const peak = `128-bit multiply-and-add peak of one core: ${report.peakGflops.toFixed(1)} GFLOP/s`;
  return `${cpu}, Node.js ${node}\n${peak}\npacking included; medians of ${ROUNDS} rounds, each beside its own peak\n${table.toString()}\n`;
}
