// `lockstep bench train`: Lockstep and its peers train the same models, in short rounds by turns. A
// shared machine drifts within minutes, so only the ratios of one round are compared, and their
// medians reported.
import { createRequire } from 'node:module';
import path from 'node:path';
import { printText, printJson } from '../coordinator/output/results.ts';
import { median } from '../coordinator/training/measure-threads.ts';
import { makeDirectory, writeFileDurably } from '../src/durable-write.ts';
import { stringifyRecord } from '../src/json.ts';
import { loadKernelModule } from '../src/kernels/load-kernels.ts';
import type { Numerics } from '../src/kernels/kernels.ts';
import { Screen } from '../src/screen.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { findPeers, OWN_NAMES, OwnContender } from './contender.ts';
import type { Contender, OwnName, PeerName } from './contender.ts';
import { describeMachine, fileName, formatReport } from './report.ts';
import type { Ratio, Speed, TrainReport, WorkloadReport } from './report.ts';
import { selectWorkload, WORKLOADS } from './workloads.ts';
import type { WorkloadName } from './workloads.ts';

/** Arguments of `lockstep bench train`. */
export interface TrainBenchArguments {
  readonly workload?: string;
  readonly numerics: Numerics;
  readonly rounds: number;
  readonly quick?: boolean;
  readonly json?: boolean;
  readonly save?: boolean;
}

const screen = new Screen();

/** Seconds that each contender trains in a round, after half as much of warming up. */
const SECONDS = 2;
const QUICK = { rounds: 2, seconds: 0.5 };

/** Pairs of contenders whose speeds are divided, each with one of its kind. */
const COMPARISONS: readonly (readonly [ours: OwnName, other: OwnName | PeerName])[] = [
  ['1 thread', 'pytorch'],
  ['2 threads', 'pytorch-ddp'],
  ['2 workers', 'pytorch-ddp'],
  ['1 thread', 'tfjs-wasm'],
  ['1 thread', 'jax-js-wasm'],
  ['2 threads', '1 thread'],
  ['2 workers', '1 thread'],
  ['1 worker', '1 thread'],
];

/** Measures the workloads and prints the figures. */
export async function benchTrain(args: TrainBenchArguments): Promise<void> {
  const names =
    args.workload === undefined
      ? (Object.keys(WORKLOADS) as WorkloadName[])
      : [selectWorkload(args.workload)];
  collectMessageBuffers();
  const root = path.dirname(createRequire(import.meta.url).resolve('#package.json'));
  const rounds = args.quick ? QUICK.rounds : args.rounds;
  const seconds = args.quick ? QUICK.seconds : SECONDS;
  const candidates = await findPeers(path.join(root, 'bench/peers'), process.env);
  const peers = candidates.flatMap((candidate) => ('contender' in candidate ? [candidate.contender] : []));
  const absent = candidates.flatMap((candidate) => ('skipped' in candidate ? [candidate] : []));
  const workloads: WorkloadReport[] = [];
  for (const name of names) {
    const own = OWN_NAMES.map((own) => new OwnContender(own, args.numerics));
    workloads.push(await measureWorkload(name, [...own, ...peers], { rounds, seconds }));
  }
  const { width } = await loadKernelModule(args.numerics);
  const report: TrainReport = {
    ...describeMachine(width),
    numerics: args.numerics,
    rounds,
    seconds,
    absent,
    workloads,
  };
  if (args.save) await save(path.join(root, 'bench/results'), fileName(report, args.workload), report);
  await (args.json ? printJson(report) : printText(formatReport(report)));
}

/** All rounds of one workload. A contender that fails is left out of the rounds that follow. */
async function measureWorkload(
  workload: WorkloadName,
  contenders: readonly Contender[],
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
): Promise<WorkloadReport> {
  const figures = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  const failures = new Map<string, string>();
  try {
    for (let round = 0; round < rounds; round++) {
      // Every second round runs backwards, so that a drift within rounds affects first and last alike.
      for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
        if (failures.has(contender.name)) continue;
        screen.write(`${workload}, round ${round + 1} of ${rounds}: ${contender.name}\n`);
        try {
          figures.get(contender.name)?.push(await contender.measure(workload, seconds));
        } catch (error) {
          failures.set(contender.name, (error as Error).message);
        }
      }
    }
  } finally {
    await Promise.all(contenders.map((contender) => contender.close()));
  }
  const speeds = contenders.flatMap(({ name, version }): Speed[] => {
    const rates = figures.get(name) ?? [];
    return failures.has(name) ? [] : [{ name, version, samplesPerSecond: median(rates), rounds: rates }];
  });
  const failed = [...failures].map(([name, reason]) => ({ name, reason }));
  return { workload, speeds, failed, ratios: COMPARISONS.flatMap((pair) => ratioOf(speeds, pair)) };
}

function ratioOf(speeds: readonly Speed[], [ours, other]: readonly [string, string]): Ratio[] {
  const [above, below] = [ours, other].map((name) => speeds.find((speed) => speed.name === name));
  if (!above || !below) return [];
  const perRound = above.rounds.map((rate, round) => rate / (below.rounds[round] as number));
  return [
    { ours, other, median: median(perRound), least: Math.min(...perRound), most: Math.max(...perRound) },
  ];
}

async function save(folder: string, name: string, report: TrainReport): Promise<void> {
  await makeDirectory(folder);
  const file = path.join(folder, name);
  await writeFileDurably(file, `${stringifyRecord(report, 2)}\n`);
  screen.write(`saved as ${file}\n`);
}
