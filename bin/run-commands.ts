// `lockstep train`, `coordinator` and `replay`: from arguments to a finished run.
import { fileURLToPath } from 'node:url';
import { createOutput, createRuntime, parseAddress } from './runtime.ts';
import type { Runtime } from './runtime.ts';
import { dryRun } from '../coordinator/commands/dry-run.ts';
import { replayStep } from '../coordinator/commands/replay.ts';
import { runTraining } from '../coordinator/commands/run.ts';
import { printData, printJson, printText } from '../coordinator/output/results.ts';
import { formatSummary } from '../coordinator/output/summary.ts';
import { fanInOf, localComputeOf, localWorkforce, topologyError } from '../coordinator/start-compute.ts';
import type { Topology, TopologyFlags, Workforce } from '../coordinator/start-compute.ts';
import type { LocalCompute } from '../coordinator/training/memory-plan.ts';
import { formatConfigYaml } from '../src/config/config-text.ts';
import { loadConfig } from '../src/config/load.ts';
import { LockstepError } from '../src/errors.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { readToken } from '../src/protocol/token.ts';

interface RunArguments extends TopologyFlags {
  readonly set: readonly string[];
  readonly runDir?: string;
  readonly resume?: string;
  readonly allowOlder?: boolean;
  readonly printConfig?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly sharedMemory: boolean;
}

/** @throws LockstepError (exit 2) for flags that contradict each other */
function topologyOf(args: RunArguments, hasWorkers = true): Topology {
  const fanIn = fanInOf(args);
  if (hasWorkers || fanIn === undefined) return { fanIn };
  throw topologyError('--topology tree is for workers, and there are none', 'add --workers COUNT');
}

/** Arguments of `lockstep train`. */
export interface TrainArguments extends RunArguments {
  readonly workers: number | 'auto';
  readonly threads: number | 'auto';
}

/** Arguments of `lockstep coordinator`. */
export interface CoordinatorArguments extends RunArguments {
  readonly listen: string;
  readonly tokenFile?: string;
  readonly minWorkers: number;
  readonly waitForWorkers: number;
}

/** Trains on this machine. */
export async function trainLocally(config: string, args: TrainArguments): Promise<void> {
  const program = fileURLToPath(new URL('./lockstep.js', import.meta.url));
  const hasWorkers = args.workers !== 'auto' && args.workers > 0;
  const topology = topologyOf(args, hasWorkers);
  const workforce = localWorkforce(args.workers, args.threads, { program, ...topology });
  await runCommand(config, args, () => workforce, localComputeOf(workforce));
}

/** Trains with workers that join over the network. */
export async function coordinate(config: string, args: CoordinatorArguments): Promise<void> {
  await runCommand(config, args, ({ log }) => {
    const { host, port } = parseAddress(args.listen);
    const token = readToken({ file: args.tokenFile, env: process.env, warn: (message) => log.warn(message) });
    const { minWorkers, waitForWorkers } = args;
    const waitForWorkersMs = waitForWorkers * 1000;
    return { kind: 'network', host, port, token, minWorkers, waitForWorkersMs, ...topologyOf(args) };
  });
}

async function runCommand(
  path: string,
  args: RunArguments,
  chooseWorkforce: (runtime: Runtime) => Workforce,
  local?: LocalCompute,
): Promise<void> {
  if (args.allowOlder && args.resume === undefined) throw olderThanWhat();
  const { config } = await loadConfig({ path, overrides: args.set });
  if (args.printConfig) return printData(formatConfigYaml(config));
  const runtime = createRuntime();
  const resuming = {
    runDirectory: args.runDir,
    resume: args.resume,
    allowOlder: args.allowOlder ?? false,
  };
  if (args.dryRun) {
    const warn = (message: string): void => runtime.log.warn(message);
    const plan = await dryRun({ config, ...resuming, local, warn });
    return printText(plan);
  }
  const workforce = chooseWorkforce(runtime);
  collectMessageBuffers();
  const { summary, directory, ...about } = await runTraining({
    ...runtime,
    config,
    workforce,
    sharedMemory: args.sharedMemory,
    ...resuming,
  });
  const { columns } = runtime.screen;
  runtime.screen.write(`\n${formatSummary(summary, { columns, ...about })}results in ${directory}\n`);
  if (args.json) await printJson(summary);
}

function olderThanWhat(): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_ALLOW_OLDER',
    message: '--allow-older requires --resume, which names the checkpoint to resume from',
  });
}

/** Arguments of `lockstep replay`. */
export interface ReplayArguments {
  readonly step: number;
  readonly json?: boolean;
}

/** Takes the step again and compares. @throws LockstepError (exit 1) if the weights differ. */
export async function replay(run: string, { step, json }: ReplayArguments): Promise<void> {
  const { log, screen } = createOutput();
  const replayed = await replayStep(run, step, (message) => log.warn(message));
  const { from, recorded, recomputed, firstDifference } = replayed;
  if (json) await printJson(replayed);
  const start = from === 0 ? 'the beginning' : `the checkpoint of step ${from}`;
  if (firstDifference === undefined) {
    return screen.write(`step ${step}, taken again from ${start}: the same weights, ${recorded}\n`);
  }
  throw new LockstepError({
    category: 'failure',
    code: 'E_REPLAY_DIFFERS',
    message: `step ${step}, taken again from ${start}, results in weights ${recomputed}, not ${recorded}; the first step that differs is ${firstDifference}`,
    help: 'the run was disturbed there: a worker sent wrong results (see audit), or the records were changed',
  });
}
