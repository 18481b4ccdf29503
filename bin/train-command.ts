// `lockstep train` and `lockstep coordinator`: from arguments to a finished run.
import { fileURLToPath } from 'node:url';
import { formatConfigYaml } from '../src/config/config-text.ts';
import { loadConfig } from '../src/config/load.ts';
import { LockstepError } from '../src/errors.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { readToken } from '../src/protocol/token.ts';
import { formatSummary } from '../coordinator/output/summary.ts';
import { dryRun } from '../coordinator/commands/dry-run.ts';
import { runTraining } from '../coordinator/commands/run.ts';
import type { LocalCompute } from '../coordinator/training/memory-plan.ts';
import { localComputeOf, localWorkforce } from '../coordinator/start-compute.ts';
import type { Workforce } from '../coordinator/start-compute.ts';
import { printData, printJson, printText } from '../coordinator/output/stdout.ts';
import { createRuntime } from './runtime.ts';
import type { Runtime } from './runtime.ts';

interface RunArguments {
  readonly set: readonly string[];
  readonly runDir?: string;
  readonly resume?: string;
  readonly allowOlder?: boolean;
  readonly printConfig?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** Arguments of `lockstep train`. */
export interface TrainArguments extends RunArguments {
  readonly workers: number | 'auto';
  readonly threads: number;
}

/** Arguments of `lockstep coordinator`. */
export interface CoordinatorArguments extends RunArguments {
  readonly listen: string;
  readonly tokenFile?: string;
  readonly minWorkers: number;
  readonly waitForWorkers: number;
}

/** Trains with worker processes of its own. */
export async function trainLocally(config: string, args: TrainArguments): Promise<void> {
  const program = fileURLToPath(new URL('./lockstep.js', import.meta.url));
  const workforce = localWorkforce(args.workers, args.threads, program);
  await runCommand(config, args, () => workforce, localComputeOf(workforce));
}

/** Trains with workers that join over the network. */
export async function coordinate(config: string, args: CoordinatorArguments): Promise<void> {
  await runCommand(config, args, ({ log }) => {
    const { host, port } = parseAddress(args.listen);
    const token = readToken({ file: args.tokenFile, env: process.env, warn: (message) => log.warn(message) });
    const { minWorkers, waitForWorkers } = args;
    return { kind: 'network', host, port, token, minWorkers, waitForWorkersMs: waitForWorkers * 1000 };
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
  const { summary, directory } = await runTraining({
    ...runtime,
    config,
    workforce,
    ...resuming,
  });
  runtime.screen.write(`\n${formatSummary(summary)}results in ${directory}\n`);
  if (args.json) await printJson(summary);
}

function olderThanWhat(): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_ALLOW_OLDER',
    message: '--allow-older goes with --resume, which names what to go on from',
  });
}

function parseAddress(text: string): { host: string; port: number } {
  const match = /^(?<host>\[[0-9a-fA-F:]+\]|[^:\s]+):(?<port>\d{1,5})$/.exec(text);
  const port = Number(match?.groups?.['port']);
  if (!match?.groups || port > 65_535) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_LISTEN_ADDRESS',
      message: `--listen ${text}: expected HOST:PORT`,
      help: 'for example --listen 127.0.0.1:7700, or 0.0.0.0:7700 with --token-file',
    });
  }
  return { host: (match.groups['host'] as string).replace(/^\[|\]$/g, ''), port };
}
