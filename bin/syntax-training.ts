// The syntax of the commands that train.
import { isIPv6 } from 'node:net';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { MAX_FOLDS, MAX_THREADS, MAX_TRIALS, MAX_WORKER_NAME_LENGTH, MAX_WORKERS } from '../src/limits.ts';
import type { CoordinatorArguments, TrainArguments } from './run-commands.ts';
import type { TuneArguments } from './tune-command.ts';
import type { WorkerArguments } from './worker-command.ts';
import {
  wholeNumber,
  filePath,
  collect,
  orAuto,
  threadsOption,
  workersOption,
  localThreadsOption,
  topologyOption,
  fanInOption,
  coordinatorUrl,
  withTls,
} from './syntax-options.ts';

const workerName = (text: string): string => {
  if (text.length <= MAX_WORKER_NAME_LENGTH && /^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(text)) return text;
  throw new InvalidArgumentError(`expected up to ${MAX_WORKER_NAME_LENGTH} visible ASCII characters.`);
};

const hostName = (text: string): string => {
  if (isIPv6(text) || /^[A-Za-z0-9_][\w.-]{0,252}$/.test(text)) return text;
  throw new InvalidArgumentError('expected a host name or an address, without a port.');
};

/** A command as a shell would split it, with quotes and nothing else. */
const words = (text: string): string[] => {
  const found = text.match(/(?:[^\s"']|"[^"]*"|'[^']*')+/g) ?? [];
  if (found.length > 0) return found.map((word) => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
  throw new InvalidArgumentError('expected a command; this one is empty.');
};

const minWorkersOption = (description: string): Option =>
  new Option('--min-workers <count>', description).argParser(wholeNumber(1, MAX_WORKERS));

const waitOption = (description: string): Option =>
  new Option('--wait-for-workers <seconds>', description).argParser(wholeNumber(1, 86_400));

/** Adds the options of all commands that read a config. */
function withConfig(command: Command): Command {
  return command
    .argument('<config>', 'YAML or JSON file that describes the run', filePath)
    .option('--set <key.path=value>', 'override a config value; repeatable', collect, [])
    .option('--run-dir <dir>', 'directory for the results (default: runs/<time>-<name>)', filePath)
    .option(
      '--resume <last|best|auto|path>',
      'resume from a checkpoint: the last or best one of --run-dir or of the newest run of that name, or a path; auto: the last one of --run-dir, or a new run there',
      filePath,
    )
    .option('--allow-older', 'with --resume: use an older checkpoint if the newest is damaged')
    .option('--print-config', 'print the resolved config and exit')
    .option('--no-shared-memory', 'move weights and gradients through sockets on this machine too')
    .option('--browser-workers', 'serve a page that makes the browsers that open it workers; prints its link')
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
export function addTrainingCommands(program: Command): void {
  withConfig(program.command('train'))
    .description('train on this machine, or on others by ssh: starts the workers, trains, validates, tests')
    .addOption(workersOption().conflicts('hosts'))
    .addOption(localThreadsOption())
    .option(
      '--hosts <file>',
      'start workers by ssh on these hosts, one a line: [USER@]HOST[:PORT] [slots=COUNT] [threads=COUNT]',
      filePath,
    )
    .option(
      '--listen <host:port>',
      'with --hosts or --browser-workers: address to listen on (default: all, and a free port)',
    )
    .option(
      '--address <name>',
      'with --hosts or --browser-workers: the name or address of this machine that workers connect to (default: that from which ssh comes, or the first one)',
      hostName,
    )
    .addOption(
      new Option(
        '--tunnel',
        'with --hosts: let workers connect through ssh, encrypted and past firewalls',
      ).conflicts(['listen', 'address']),
    )
    .addOption(
      minWorkersOption(
        'with --hosts or --browser-workers: workers with which training begins and goes on (default: all, 1)',
      ),
    )
    .addOption(
      waitOption('with --hosts or --browser-workers: longest time with fewer workers (default: 600)'),
    )
    .addOption(
      new Option('--ssh <command>', 'with --hosts: the ssh to use, with flags of its own (default: ssh)')
        .argParser(words)
        .env('LOCKSTEP_SSH'),
    )
    .option(
      '--remote-dir <dir>',
      'with --hosts: directory there (default: as here, or the home directory where there is none)',
      filePath,
    )
    .option('--remote-command <command>', 'with --hosts: lockstep there (default: npx --no lockstep)')
    .addOption(
      new Option(
        '--folds <count>',
        'train once for each of so many parts of the data as the test split; mean and deviation at the end',
      )
        .argParser(wholeNumber(2, MAX_FOLDS))
        .conflicts('browserWorkers'),
    )
    .action(async (config: string, options: TrainArguments) =>
      (await import('./run-commands.ts')).train(config, options),
    );

  const coordinator = withConfig(program.command('coordinator'));
  withTls(coordinator, {
    cert: 'PEM file of a certificate: workers connect by TLS, to wss://; read again when it is renewed',
    ca: 'PEM file of an authority: workers must show a certificate that it has signed',
  })
    .description('train with workers that join over the network')
    .requiredOption('--listen <host:port>', 'address to listen on; port 0 picks a free one')
    .addOption(minWorkersOption('smallest number of workers with which a step begins').default(1))
    .addOption(waitOption('longest time with fewer workers').default(600))
    .option(
      '--worker-tokens <file>',
      'file with the name and the token of each worker, one a line; read again when it changes',
      filePath,
    )
    .option(
      '--public-url <url>',
      'URL that workers are told, where they reach the port through a proxy',
      coordinatorUrl,
    )
    .action(async (config: string, options: CoordinatorArguments) =>
      (await import('./run-commands.ts')).coordinate(config, options),
    );

  const worker = program.command('worker');
  withTls(worker, {
    cert: 'PEM file of the certificate of this worker, for a coordinator that wants one, and for --listen',
    ca: 'PEM file of the authority that signed the certificate of the coordinator',
  })
    .description(
      'work for a coordinator, and reconnect if the connection is lost, until the run is over; told to stop, give the task back, and exit with 143 (SIGTERM) or 130 (SIGINT)',
    )
    .argument('<url>', 'ws://HOST:PORT of the coordinator, or wss:// where it has a certificate or a proxy')
    .addOption(
      threadsOption('compute threads; auto: one for each core')
        .argParser(orAuto(wholeNumber(1, MAX_THREADS)))
        .default(1),
    )
    .addOption(
      new Option(
        '--name <text>',
        'name of this worker in logs (default: the host, and the rank under Slurm or MPI)',
      )
        .argParser(workerName)
        .env('LOCKSTEP_WORKER_NAME'),
    )
    .option(
      '--token-file <file>',
      'file with the secret that the coordinator expects (or LOCKSTEP_TOKEN)',
      filePath,
    )
    .addOption(
      new Option(
        '--stdio',
        'for a program that starts this worker: read the secret from the first line of stdin, and leave when stdin ends',
      ).conflicts('tokenFile'),
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
export function addTune(program: Command): void {
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
