// The syntax of the benchmarks.
import { Option } from 'commander';
import type { Command } from 'commander';
import { NUMERICS } from '../src/kernels/kernels.ts';
import { MAX_SHARDS, MAX_WORKERS } from '../src/limits.ts';
import type { FloodsArguments } from '../bench/floods.ts';
import type { KernelsArguments } from '../bench/kernels.ts';
import type { NetworkArguments } from '../bench/network.ts';
import type { ScaleArguments } from '../bench/scale.ts';
import type { SimulateArguments } from '../bench/simulate.ts';
import type { StepArguments } from '../bench/step.ts';
import type { TrainBenchArguments } from '../bench/train.ts';
import {
  wholeNumber,
  filePath,
  collect,
  threadsOption,
  topologyOption,
  fanInOption,
} from './syntax-options.ts';

/** Adds what selects the run of a benchmark. */
function withWorkload(command: Command): Command {
  return command
    .argument('[config]', 'YAML or JSON file that describes a run (default: a built-in workload)', filePath)
    .option('--set <key.path=value>', 'override a config value; repeatable', collect, [])
    .option('--workload <name>', 'the built-in workload', 'mlp-mnist');
}

/** Adds what describes the cluster of a benchmark, and its links. */
function withLinks(command: Command): Command {
  return withWorkload(command)
    .option('--bandwidth <speed>', 'of each machine, each way: 100mbit, 1gbit, or unlimited', '1gbit')
    .option('--latency <time>', 'of each message, one way: 500us, 5ms', '1ms')
    .addOption(topologyOption())
    .addOption(fanInOption())
    .option(
      '--shards <count>',
      'shards of a batch (default: those of the config)',
      wholeNumber(1, MAX_SHARDS),
    )
    .option('--json', 'print the figures as JSON');
}

/** Adds the benchmarks. */
export function addBenchmarks(program: Command): void {
  const bench = program.command('bench').description('measure this machine');
  bench
    .command('kernels')
    .description('GFLOP/s of matrix products against the 128-bit multiply-and-add peak')
    .option('--json', 'print the figures as JSON')
    .action(async (options: KernelsArguments) => (await import('../bench/kernels.ts')).benchKernels(options));
  withWorkload(bench.command('scale'))
    .description(
      'what a step takes with threads, with workers and with both, where its time goes, and the fastest command',
    )
    .option('--workers <list>', 'worker counts, separated by commas; 0: this process')
    .option('--threads <list>', 'thread counts, separated by commas')
    .option(
      '--steps <count>',
      'steps of each round (default: as many as take 1.5 s)',
      wholeNumber(1, 100_000),
    )
    .option('--rounds <count>', 'rounds in which all settings take turns', wholeNumber(1, 1000), 5)
    .option('--svg <file>', 'draw the figures', filePath)
    .option('--json', 'print the figures as JSON')
    .action(async (config: string | undefined, options: ScaleArguments) =>
      (await import('../bench/scale.ts')).benchScale(config, options),
    );
  withWorkload(bench.command('step'))
    .description('a timeline of a few steps, of all processes and threads, and what they spend their time on')
    .option('--workers <count>', 'worker processes; 0: this process', wholeNumber(0, MAX_WORKERS), 0)
    .addOption(threadsOption('compute threads of this process, or of each worker').default(1))
    .option('--steps <count>', 'steps to record', wholeNumber(1, 10_000), 20)
    .option('--output <file>', "the timeline, in Chrome's trace format", filePath, 'step-trace.json')
    .option('--json', 'print the figures as JSON')
    .action(async (config: string | undefined, options: StepArguments) =>
      (await import('../bench/step.ts')).benchStep(config, options),
    );
  withLinks(bench.command('network'))
    .description(
      "trainings over links of a network's speed, beside what computing or the link alone would allow",
    )
    .option('--workers <list>', 'worker counts, separated by commas', '2')
    .option('--steps <count>', 'steps of each round (default: as many as take 3 s)', wholeNumber(1, 100_000))
    .option('--rounds <count>', 'rounds', wholeNumber(1, 1000), 3)
    .action(async (config: string | undefined, options: NetworkArguments) =>
      (await import('../bench/network.ts')).benchNetwork(config, options),
    );
  withLinks(bench.command('simulate'))
    .description(
      'what a step would take in a cluster that is not there, predicted from what its parts take here',
    )
    .option('--workers <list>', 'worker counts, separated by commas', '1,2,4,8,16,32')
    .addOption(threadsOption('compute threads of each worker').default(1))
    .option(
      '--cores <count>',
      'cores that all processes share (default: a machine for each)',
      wholeNumber(1, 4096),
    )
    .action(async (config: string | undefined, options: SimulateArguments) =>
      (await import('../bench/simulate.ts')).benchSimulate(config, options),
    );
  bench
    .command('floods')
    .description('what connections and requests of strangers cost a run: steps with each kind and without it')
    .option('--rounds <count>', 'rounds in which the run is flooded and left alone', wholeNumber(1, 1000), 5)
    .option('--json', 'print the figures as JSON')
    .action(async (options: FloodsArguments) => (await import('../bench/floods.ts')).benchFloods(options));
  bench
    .command('train')
    .alias('peers')
    .description('samples/s of whole trainings against PyTorch, TensorFlow.js and jax-js, where installed')
    .option('--workload <name>', 'only this workload (default: all)')
    .addOption(new Option('--numerics <build>', 'build of the kernels').choices(NUMERICS).default('strict'))
    .option('--rounds <count>', 'rounds in which all take turns, 2 s each', wholeNumber(1, 1000), 7)
    .option('--quick', 'two short rounds: whether it works, not how fast')
    .option('--save', 'store the figures in bench/results')
    .option('--json', 'print the figures as JSON')
    .action(async (options: TrainBenchArguments) => (await import('../bench/train.ts')).benchTrain(options));
}
