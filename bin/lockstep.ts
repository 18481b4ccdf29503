#!/usr/bin/env node
// The command line: reads arguments, calls one function, turns the outcome into text and an exit code.
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { EXIT, LockstepError, formatError } from '../src/errors.ts';
import { checkFailpoints } from '../src/failpoint.ts';
import { NUMERICS } from '../src/kernels/kernels.ts';
import {
  DEFAULT_FAN_IN,
  MAX_FAN_IN,
  MAX_FOLDS,
  MAX_TRIALS,
  MAX_SHARDS,
  MAX_THREADS,
  MAX_WORKERS,
} from '../src/limits.ts';
import { Screen } from '../src/screen.ts';
import { indentFurther } from '../src/printable.ts';
import { VERSION } from '../src/version.ts';
import { printData } from '../coordinator/output/results.ts';
import type { KernelsArguments } from '../bench/kernels.ts';
import type { NetworkArguments } from '../bench/network.ts';
import type { ScaleArguments } from '../bench/scale.ts';
import type { SimulateArguments } from '../bench/simulate.ts';
import type { StepArguments } from '../bench/step.ts';
import type { TrainBenchArguments } from '../bench/train.ts';
import type { DashboardArguments } from './dashboard-command.ts';
import type { Shell } from './completion.ts';
import type { InitArguments, InspectArguments } from './data-commands.ts';
import type { DoctorArguments } from './doctor-command.ts';
import type { EvaluateArguments, PredictArguments } from './model-command.ts';
import type { CoordinatorArguments, ReplayArguments, TrainArguments } from './run-commands.ts';
import type { CompareArguments, RunsArguments } from './runs-command.ts';
import type { ExportArguments } from './export-command.ts';
import type { ServeArguments } from './serve-command.ts';
import type { TuneArguments } from './tune-command.ts';
import type { WorkerArguments } from './worker-command.ts';
import { Interrupted, orUncaught } from './endings.ts';

const wholeNumber =
  (least: number, most: number) =>
  (text: string): number => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}.`);
  };

const filePath = (text: string): string => {
  if (text !== '') return text;
  throw new InvalidArgumentError('expected a path; this one is empty.');
};

const delimiter = (text: string): string => {
  if (text === 'tab') return '\t';
  if (text === 'spaces' || text.length === 1) return text;
  throw new InvalidArgumentError('expected one character, tab or spaces.');
};

const collect = (value: string, previous: readonly string[]): string[] => [...previous, value];

const orAuto =
  (parse: (text: string) => number) =>
  (text: string): number | 'auto' =>
    text === 'auto' ? 'auto' : parse(text);

const threadsOption = (description: string): Option =>
  new Option('--threads <count>', description).argParser(wholeNumber(1, MAX_THREADS)).env('LOCKSTEP_THREADS');

const workersOption = (): Option =>
  new Option('--workers <count>', 'worker processes; auto or 0: compute in this process')
    .argParser(orAuto(wholeNumber(0, MAX_WORKERS)))
    .default('auto')
    .env('LOCKSTEP_WORKERS');

const localThreadsOption = (): Option =>
  threadsOption(
    'compute threads of this process, or of each worker; auto: as many as prove to be fastest, 1 in a worker',
  )
    .argParser(orAuto(wholeNumber(1, MAX_THREADS)))
    .default('auto');

const topologyOption = (): Option =>
  new Option('--topology <shape>', 'star: the coordinator serves all workers; tree: workers serve others')
    .choices(['star', 'tree'])
    .default('star');

const fanInOption = (): Option =>
  new Option(
    '--fan-in <count>',
    `workers that each place of a tree serves itself (default: ${DEFAULT_FAN_IN})`,
  ).argParser(wholeNumber(2, MAX_FAN_IN));

/** Adds the options of all commands that read a config. */
function withConfig(command: Command): Command {
  return command
    .argument('<config>', 'YAML or JSON file that describes the run', filePath)
    .option('--set <key.path=value>', 'override a config value; repeatable', collect, [])
    .option('--run-dir <dir>', 'directory for the results (default: runs/<time>-<name>)', filePath)
    .option(
      '--resume <last|best|path>',
      'resume from a checkpoint: the last or best one of --run-dir or of the newest run of that name, or a path',
      filePath,
    )
    .option('--allow-older', 'with --resume: use an older checkpoint if the newest is damaged')
    .option('--print-config', 'print the resolved config and exit')
    .option('--no-shared-memory', 'move weights and gradients through sockets on this machine too')
    .addOption(topologyOption())
    .addOption(fanInOption())
    .option('--dry-run', 'check config, data, model, memory and what --resume names, print the plan and exit')
    .option(
      '--dashboard [host:port]',
      'show the run in a browser; a port alone is of this machine, 0 picks a free one (default: 7788)',
    )
    .option(
      '--token-file <file>',
      'file with the secret that workers must show, and browsers beyond this machine (or LOCKSTEP_TOKEN)',
      filePath,
    )
    .option('--json', 'print summary.json to stdout at the end');
}

/** Adds the commands that train, on this machine or over the network. */
function addTrainingCommands(program: Command): void {
  withConfig(program.command('train'))
    .description('train on this machine: starts the workers, trains, validates, tests')
    .addOption(workersOption())
    .addOption(localThreadsOption())
    .option(
      '--folds <count>',
      'train once for each of so many parts of the data as the test split; mean and deviation at the end',
      wholeNumber(2, MAX_FOLDS),
    )
    .action(async (config: string, options: TrainArguments) =>
      (await import('./run-commands.ts')).trainLocally(config, options),
    );

  withConfig(program.command('coordinator'))
    .description('train with workers that join over the network')
    .requiredOption('--listen <host:port>', 'address to listen on; port 0 picks a free one')
    .option(
      '--min-workers <count>',
      'smallest number of workers with which a step begins',
      wholeNumber(1, MAX_WORKERS),
      1,
    )
    .option('--wait-for-workers <seconds>', 'longest time with fewer workers', wholeNumber(1, 86_400), 600)
    .action(async (config: string, options: CoordinatorArguments) =>
      (await import('./run-commands.ts')).coordinate(config, options),
    );

  program
    .command('worker')
    .description(
      'work for a coordinator, and reconnect if the connection is lost, until the run is over; told to stop, give the task back, and exit with 143 (SIGTERM) or 130 (SIGINT)',
    )
    .argument('<url>', 'ws://HOST:PORT of the coordinator, or wss:// of a proxy or tunnel to it')
    .addOption(threadsOption('compute threads').default(1))
    .option(
      '--token-file <file>',
      'file with the secret that the coordinator expects (or LOCKSTEP_TOKEN)',
      filePath,
    )
    .option(
      '--listen <host:port>',
      'take workers here too, if the coordinator wants a tree; port 0 picks one',
    )
    .option(
      '--announce <host:port>',
      'with --listen: the address that other workers are told, where they reach this port by another one',
    )
    .action(async (url: string, options: WorkerArguments) =>
      (await import('./worker-command.ts')).work(url, options),
    );
}

/** Adds the search for good values of a config. */
function addTune(program: Command): void {
  program
    .command('tune')
    .description('train with other values of some keys of the config, to find those with the best validation')
    .argument('<config>', 'YAML or JSON file that describes the run', filePath)
    .option(
      '--vary <key=values>',
      'a key of the config and its values: a list, [16, 32], or a range, 0..0.5, log:1e-4..0.1; repeatable',
      collect,
      [],
    )
    .addOption(
      new Option('--method <name>', 'random draws, or all combinations of lists')
        .choices(['random', 'grid'])
        .default('random'),
    )
    .option('--trials <count>', 'trials of a random search', wholeNumber(1, MAX_TRIALS), 20)
    .option('--seed <number>', 'seed of the draws', wholeNumber(0, 4_294_967_295), 0)
    .option('--set <key.path=value>', 'override a config value; repeatable', collect, [])
    .option('--run-dir <dir>', 'directory for all trials (default: runs/<time>-<name>-tune)', filePath)
    .option('--resume', 'continue the search of --run-dir: trials that are over stay')
    .option('--no-early-stop', 'run every trial to its end, even one that is worse than most others')
    .addOption(workersOption())
    .addOption(localThreadsOption())
    .option('--json', 'print the trials as JSON')
    .action(async (config: string, options: TuneArguments) =>
      (await import('./tune-command.ts')).runTune(config, options),
    );
}

/** Adds the commands that use or check the results of a run. */
function addResultCommands(program: Command): void {
  program
    .command('predict')
    .description('predict the rows of a table, images or arrays with the model of a run')
    .argument('<run>', 'directory of the run, or of its model', filePath)
    .argument(
      '<file>',
      'table with the feature columns of the training data (-: stdin), images or a .npy file',
      filePath,
    )
    .option('--output <file>', 'write the predictions there instead of to stdout', filePath)
    .addOption(new Option('--format <name>', 'of the predictions').choices(['csv', 'jsonl']).default('csv'))
    .addOption(
      new Option(
        '--input-format <name>',
        'of a table on stdin (default: jsonl where it begins with {, csv otherwise)',
      ).choices(['csv', 'jsonl']),
    )
    .option(
      '--keep <columns>',
      'columns of the table to copy before the predictions, separated by commas, a name with one in quotes; all: all of them; repeatable',
      collect,
      [],
    )
    .action(async (run: string, file: string, options: PredictArguments) =>
      (await import('./model-command.ts')).predict(run, file, options),
    );

  program
    .command('export')
    .description('write the model of a run in a form that other programs read')
    .argument('<run>', 'directory of the run, or of its model', filePath)
    .addOption(
      new Option(
        '--format <name>',
        'onnx: one file, raw inputs to predictions; safetensors: one file, weights and description; huggingface: a folder for the Hub, with a model card and PyTorch code',
      )
        .choices(['onnx', 'safetensors', 'huggingface'])
        .makeOptionMandatory(),
    )
    .option('--output <path>', 'the file or folder (default: the name of the run)', filePath)
    .addOption(
      new Option(
        '--inputs <layout>',
        'of an ONNX file, for a table: an input for each of its columns, or one for all numbers and one for all texts (default: columns)',
      ).choices(['columns', 'grouped']),
    )
    .action(async (run: string, options: ExportArguments) =>
      (await import('./export-command.ts')).exportModel(run, options),
    );

  program
    .command('serve')
    .description('predict over HTTP with the model of a run, until told to stop')
    .argument('<run>', 'directory of the run, or of its model', filePath)
    .option('--port <number>', 'port to listen on; 0 picks a free one', wholeNumber(0, 65_535), 8080)
    .option('--host <address>', 'address to listen on; beyond loopback a token is required', '127.0.0.1')
    .option(
      '--token-file <file>',
      'file with the secret that requests must show (or LOCKSTEP_TOKEN)',
      filePath,
    )
    .action(async (run: string, options: ServeArguments) =>
      (await import('./serve-command.ts')).serve(run, options),
    );

  program
    .command('evaluate')
    .description('evaluate the model of a run again, with the metrics of the run')
    .argument('<run>', 'directory of the run', filePath)
    .addOption(
      new Option('--split <name>', "split of the run's data (default: test)").choices([
        'train',
        'validation',
        'test',
      ]),
    )
    .option(
      '--data <file>',
      'new labelled samples instead, all of which are measured: table, text or images',
      filePath,
    )
    .option('--labels <file>', 'labels of --data, where these are images', filePath)
    .option('--json', 'print the metrics as JSON')
    .action(async (run: string, options: EvaluateArguments) =>
      (await import('./model-command.ts')).evaluate(run, options),
    );

  program
    .command('dashboard')
    .description('show a run in a browser, while it lasts or when it is over')
    .argument('<run>', 'directory of the run', filePath)
    .option(
      '--listen <host:port>',
      'address of the page; a port alone is of this machine, 0 picks a free one (default: 7788)',
    )
    .option(
      '--token-file <file>',
      'file with the secret that browsers beyond this machine must show (or LOCKSTEP_TOKEN)',
      filePath,
    )
    .action(async (run: string, options: DashboardArguments) =>
      (await import('./dashboard-command.ts')).showDashboard(run, options),
    );

  const runs = program
    .command('runs')
    .description('list the runs in a directory: state, epochs, losses, the test and the weights')
    .argument('[dir]', 'directory that holds those of runs', filePath, 'runs')
    .option('--name <text>', 'only runs whose name or directory contains the text')
    .addOption(
      new Option('--sort <order>', 'the newest first, by name, or the best first by validation loss or test')
        .choices(['time', 'name', 'val', 'test'])
        .default('time'),
    )
    .option('--json', 'print the list as JSON')
    .action(async (directory: string, options: RunsArguments) =>
      (await import('./runs-command.ts')).showRuns(directory, options),
    );
  runs
    .command('compare')
    .description('results and config values of runs side by side')
    .argument('<run...>', 'directories of 2 to 8 runs, or their names in runs/')
    .option('--plot <file>', 'draw the losses of all of them, as SVG', filePath)
    .option('--json', 'print the comparison as JSON')
    .action(async (names: string[], _options: CompareArguments, command: Command) =>
      (await import('./runs-command.ts')).compareRuns(names, command.optsWithGlobals()),
    );
  runs
    .command('sync')
    .description('send runs to MLflow and Weights & Biases, all or what they lack')
    .argument('<run...>', 'directories of the runs, or their names in runs/')
    .action(async (names: string[]) => (await import('./runs-command.ts')).syncRuns(names));

  program
    .command('replay')
    .description('compute a step of a run again, and compare the weights with the recorded ones')
    .argument('<run>', 'directory of the run', filePath)
    .requiredOption('--step <number>', 'the step, from 1', wholeNumber(1, Number.MAX_SAFE_INTEGER))
    .option('--json', 'print the comparison as JSON')
    .action(async (run: string, options: ReplayArguments) =>
      (await import('./run-commands.ts')).replay(run, options),
    );
}

/** Adds the commands for data that have no config yet, and for a machine that has not trained yet. */
function addFirstCommands(program: Command): void {
  program
    .command('init')
    .description('write a config that trains on data: a table, pictures, arrays or a text')
    .argument('<data>', 'file, pattern or folder of the data', filePath)
    .option('--target <column>', 'column to predict (tables)')
    .addOption(
      new Option('--task <kind>', 'whether a target of whole numbers is classes or numbers').choices([
        'classes',
        'numbers',
      ]),
    )
    .option('--drop <column>', 'column to leave out; repeatable', collect, [])
    .option('--labels <file>', 'labels of images in an IDX file, or targets of a .npy file', filePath)
    .option(
      '--delimiter <character>',
      'between the columns of a table: one character, tab, or spaces for any number of these (default: found out)',
      delimiter,
    )
    .option('--name <name>', 'name of the runs (default: that of the data)')
    .option('--output <file>', 'the config (default: <name>.yaml)', filePath)
    .option('--force', 'replace an existing file')
    .option('--yes', 'take the likeliest answer to every question')
    .action(async (data: string, options: InitArguments) =>
      (await import('./data-commands.ts')).init(data, options),
    );

  program
    .command('inspect')
    .description('show what data hold: each column, what it becomes, classes, shapes, and what looks wrong')
    .argument('<data>', 'file, pattern or folder of the data, or a config', filePath)
    .option('--target <column>', 'column to predict (tables without a config)')
    .option('--labels <file>', 'labels of images in an IDX file, or targets of a .npy file', filePath)
    .option(
      '--delimiter <character>',
      'between the columns of a table: one character, tab, or spaces for any number of these (default: found out)',
      delimiter,
    )
    .option('--json', 'print it as JSON')
    .action(async (data: string, options: InspectArguments) =>
      (await import('./data-commands.ts')).inspectData(data, options),
    );

  program
    .command('doctor')
    .description('check what this machine has: Node.js, SIMD, threads, memory, ports, kernels')
    .option('--json', 'print the checks as JSON')
    .action(async (options: DoctorArguments) => (await import('./doctor-command.ts')).doctor(options));

  program
    .command('completion')
    .description('print a script that completes commands and options in a shell')
    .addArgument(new Argument('<shell>', 'the shell').choices(['bash', 'zsh', 'fish']))
    .action(async (shell: Shell) =>
      printData((await import('./completion.ts')).completionScript(program, shell)),
    );
}

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
function addBenchmarks(program: Command): void {
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

/** Creates the parser of all commands. The output of `--help` and `--version` goes to `writeOut`. */
function createProgram(writeOut: (text: string) => void): Command {
  const program = new Command('lockstep')
    .description(
      'Trains neural networks data-parallel over WebSockets and WebAssembly, to the same bits for any number of workers.',
    )
    .version(VERSION)
    .exitOverride()
    .configureOutput({ writeOut, writeErr: (text) => new Screen().write(text) })
    .showHelpAfterError('(run with --help for usage)');
  addFirstCommands(program);
  addTrainingCommands(program);
  addTune(program);
  addResultCommands(program);
  addBenchmarks(program);
  return program;
}

/** Runs a command line. @throws the command's errors, and a CommanderError for an invalid command line. */
async function runCommandLine(argv: readonly string[]): Promise<void> {
  let asked = '';
  try {
    await createProgram((text) => (asked += text)).parseAsync([...argv]);
  } catch (error) {
    // The parser ends like this after help and version. They are printed here, since it does not
    // wait for its output.
    if (!(error instanceof CommanderError) || error.exitCode !== 0) throw error;
    await printData(asked);
  }
}

/** Runs a command line; returns the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  try {
    checkFailpoints();
    await orUncaught(() => runCommandLine(argv));
    return EXIT.done;
  } catch (error) {
    if (error instanceof CommanderError) return EXIT.usage;
    if (error instanceof Interrupted) return error.exitCode;
    if (error instanceof LockstepError) {
      new Screen().write(`${formatError(error)}\n`);
      return error.exitCode;
    }
    const stack = String(error instanceof Error ? error.stack : error);
    new Screen().write(indentFurther(`lockstep ${VERSION} has a bug: ${stack}\n`));
    return EXIT.bug;
  }
}

process.exitCode = await main(process.argv);
// An open channel to its coordinator would keep a local worker alive.
if (process.connected) process.disconnect();
