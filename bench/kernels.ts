// `lockstep bench kernels`: matrix products against the arithmetic peak of the same core, and
// elementwise kernels against its memory bandwidth. Each is measured beside its measure, round
// after round, in processor time: the machine's speed may change from one second to the next, and
// others may use it.
import os from 'node:os';
import { printText, printJson } from '../coordinator/output/results.ts';
import type { KernelWidth } from '../src/kernels/kernel-width.ts';
import { instantiateKernels } from '../src/kernels/kernels.ts';
import { loadFusedModule, loadKernelModule } from '../src/kernels/load-kernels.ts';
import type { Kernels } from '../src/kernels/kernels.ts';
import { Memory } from '../src/memory.ts';
import {
  PRODUCT_SHAPES,
  allocateProductBuffers,
  productOf,
  timedConvolutions,
  streamsOf,
} from './timed-kernels.ts';
import type { ProductShape } from './timed-kernels.ts';
import { median } from '../coordinator/training/measure-threads.ts';
import { newTable } from './report.ts';

/** A speed, and its share of what the core can do: medians over the rounds. */
interface Speed {
  /** GFLOP/s of products, GB/s of streams. */
  readonly rate: number;
  /** rate / peak or bandwidth, both of the same round. */
  readonly share: number;
}

interface ProductSpeed extends ProductShape {
  readonly strict: Speed;
  /** Absent where this Node.js has no relaxed SIMD. */
  readonly fused: Speed | undefined;
}

type NamedSpeed = Speed & { readonly name: string };

interface Report {
  readonly machine: {
    readonly cpu: string;
    readonly node: string;
    readonly kernelWidth: KernelWidth;
    readonly date: string;
  };
  readonly peakGflops: number;
  readonly products: readonly ProductSpeed[];
  /** Forward and backward of a layer, strict. */
  readonly convolutions: readonly NamedSpeed[];
  readonly bandwidthGBs: number;
  readonly streams: readonly NamedSpeed[];
}

/** Something to measure: `work` is FLOP or bytes of one run. */
interface Timed {
  readonly work: number;
  readonly run: () => void;
}

const ROUNDS = 15;
const FLOP_PER_ROUND = 2e8;
const PEAK_CHAINS = 12;
/** f32 of the chains of the widest vectors. */
const PEAK_LENGTH = (PEAK_CHAINS * 256) / 32;

/** Arguments of `lockstep bench kernels`. */
export interface KernelsArguments {
  readonly json?: boolean;
}

/** Measures the kernels and prints the figures. */
export async function benchKernels({ json }: KernelsArguments): Promise<void> {
  const memory = new Memory();
  const strictModule = await loadKernelModule('strict');
  const kernelWidth = strictModule.width;
  const strict = await instantiateKernels(strictModule, memory.wasm);
  const fusedModule = await loadFusedModule();
  const fused = fusedModule && (await instantiateKernels(fusedModule, memory.wasm));
  const peak = peakOf(strict, kernelWidth, memory);
  const { peakGflops, products } = measureProducts(peak, memory, fused ? [strict, fused] : [strict]);
  const convolutions = timedConvolutions(strict, memory).map(({ name, work, run }) => {
    const { speeds } = measureBeside(peak, [repeated(work, run)]);
    return { name, ...(speeds[0] as Speed) };
  });
  const { bandwidthGBs, streams } = measureStreams(strict, memory);
  const machine = {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    node: process.version,
    kernelWidth,
    date: new Date().toISOString(),
  };
  const report: Report = { machine, peakGflops, products, convolutions, bandwidthGBs, streams };
  await (json ? printJson(report) : printText(formatReport(report)));
}

function measureProducts(
  peak: Timed,
  memory: Memory,
  builds: readonly Kernels[],
): Pick<Report, 'peakGflops' | 'products'> {
  const buffers = allocateProductBuffers(memory);
  const peaks: number[] = [];
  const products = PRODUCT_SHAPES.map((shape) => {
    const work = 2 * shape.m * shape.n * shape.k;
    const candidates = builds.map((kernels) => repeated(work, productOf(kernels, memory, buffers, shape)));
    const { measure, speeds } = measureBeside(peak, candidates);
    peaks.push(measure);
    return { ...shape, strict: speeds[0] as Speed, fused: speeds[1] };
  });
  return { peakGflops: median(peaks), products };
}

function peakOf(kernels: Kernels, width: KernelWidth, memory: Memory): Timed {
  const chains = memory.allocate(4 * PEAK_LENGTH, 'the benchmark');
  memory.f32(chains, PEAK_LENGTH).fill(0.5);
  const iterations = Math.round(FLOP_PER_ROUND / PEAK_CHAINS / 2 / (width / 32));
  return { work: FLOP_PER_ROUND, run: () => kernels.peakMultiplyAdd(iterations, 0.5, chains) };
}

function measureStreams(kernels: Kernels, memory: Memory): Pick<Report, 'bandwidthGBs' | 'streams'> {
  const streams = streamsOf(kernels, memory);
  const toTimed = ({ bytes, run }: { bytes: number; run: () => void }): Timed => ({ work: bytes, run });
  const { measure, speeds } = measureBeside(toTimed(streams.triad), streams.kernels.map(toTimed));
  const named = streams.kernels.map(({ name }, i) => ({ name, ...(speeds[i] as Speed) }));
  return { bandwidthGBs: measure, streams: named };
}

/** A measurement that repeats `run` until a round is long enough for the clock. */
function repeated(work: number, run: () => void): Timed {
  const repeats = Math.ceil(FLOP_PER_ROUND / work);
  return {
    work: work * repeats,
    run: () => {
      for (let repeat = 0; repeat < repeats; repeat++) run();
    },
  };
}

/**
 * Medians over rounds, in each of which every candidate runs beside the measure. The first round only
 * warms up.
 */
function measureBeside(measure: Timed, candidates: readonly Timed[]): { measure: number; speeds: Speed[] } {
  const round = (): { measured: number; rates: number[] } => ({
    measured: billionsPerSecond(measure),
    rates: candidates.map(billionsPerSecond),
  });
  round();
  const rounds = Array.from({ length: ROUNDS }, round);
  const speeds = candidates.map((_, i) => ({
    rate: median(rounds.map(({ rates }) => rates[i] as number)),
    share: median(rounds.map(({ rates, measured }) => (rates[i] as number) / measured)),
  }));
  return { measure: median(rounds.map(({ measured }) => measured)), speeds };
}

function billionsPerSecond({ work, run }: Timed): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return work / (user + system) / 1e3;
}

function formatReport(report: Report): string {
  const { machine, peakGflops, products, convolutions, bandwidthGBs, streams } = report;
  const cells = (speed: Speed | undefined): string[] =>
    speed ? [speed.rate.toFixed(1), `${(100 * speed.share).toFixed(0)} %`] : ['', ''];
  const builds = ['strict GFLOP/s', 'of peak', 'fused GFLOP/s', 'of peak'];
  const productTable = newTable(['product', 'layout', 'm', 'n', 'k', ...builds]);
  for (const { name, layout, m, n, k, strict, fused } of products) {
    productTable.push([name, layout, m, n, k, ...cells(strict), ...cells(fused)]);
  }
  const convolutionTable = newTable(['layer, forward and backward', 'GFLOP/s', 'of peak']);
  for (const convolution of convolutions) convolutionTable.push([convolution.name, ...cells(convolution)]);
  const streamTable = newTable(['elementwise kernel', 'GB/s', 'of bandwidth']);
  for (const stream of streams) streamTable.push([stream.name, ...cells(stream)]);
  return [
    `${machine.cpu}, Node.js ${machine.node}; medians of ${ROUNDS} rounds, each beside its own measure`,
    `${machine.kernelWidth}-bit multiply-and-add peak of one core: ${peakGflops.toFixed(1)} GFLOP/s; packing included`,
    productTable.toString(),
    convolutionTable.toString(),
    `memory bandwidth of one core: ${bandwidthGBs.toFixed(1)} GB/s`,
    streamTable.toString(),
    '',
  ].join('\n');
}
