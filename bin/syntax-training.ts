// The syntax of the commands that train.
import { isIPv6 } from 'node:net';
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import {
  DEFAULT_LEASE_S,
  MAX_LEASE_S,
  MAX_FOLDS,
  MAX_THREADS,
  MAX_TRIALS,
  MAX_WORKER_NAME_LENGTH,
  MAX_WORKERS,
} from '../src/limits.ts';
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
  datasetCacheOption,
  coordinatorUrl,
  requiring,
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
      'resume from a checkpoint: the last or best one of --run-dir or of the newest run of that name, or a path; auto: the last one of --run-dir or of the mirror, or a new run there',
      filePath,
    )
    .addOption(
      requiring(
        new Option('--allow-older', 'with --resume: use an older checkpoint if the newest is damaged'),
        '--resume',
      ),
    )
    .addOption(
      requiring(
        new Option(
          '--standby',
          'follow the run in --run-dir while another process leads it, and take over if that one ends, dies or gives no sign of life',
        ).conflicts(['resume', 'folds', 'dryRun']),
        '--run-dir',
      ),
    )
    .option(
      '--lease <seconds>',
      `time without a sign of life after which another process may take over (default: ${DEFAULT_LEASE_S})`,
      wholeNumber(2, MAX_LEASE_S),
    )
    .option(
      '--checkpoint-mirror <url>',
      'copy checkpoints and results to object storage, s3://BUCKET/PREFIX of this run (sets checkpoint.mirror)',
    )
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

/** Options of a port of `train`, for workers on hosts and for tabs. */
function portOptions(): Option[] {
  return [
    new Option(
      '--listen <host:port>',
      'with --hosts or --browser-workers: address to listen on (default: all, and a free port)',
    ),
    new Option(
      '--address <name>',
      'with --hosts or --browser-workers: the name or address of this machine that workers connect to (default: that from which ssh comes; the first one in a link)',
    ).argParser(hostName),
    minWorkersOption(
      'with --hosts or --browser-workers: workers with which training goes on (default: 1; with --hosts it begins with all)',
    ),
    waitOption('with --hosts or --browser-workers: longest time with fewer workers (default: 600)'),
  ];
}

/** Options that go with `train --hosts` alone. */
function hostsOptions(): Option[] {
  return [
    new Option(
      '--tunnel',
      'with --hosts: let workers connect through ssh, encrypted and past firewalls',
    ).conflicts(['listen', 'address']),
    new Option('--ssh <command>', 'with --hosts: the ssh to use, with flags of its own (default: ssh)')
      .argParser(words)
      .env('LOCKSTEP_SSH'),
    new Option(
      '--remote-dir <dir>',
      'with --hosts: directory there (default: as here, or the home directory where there is none)',
    ).argParser(filePath),
    new Option('--remote-command <command>', 'with --hosts: lockstep there (default: npx --no lockstep)'),
    datasetCacheOption(
      'with --hosts: directory, here and there, in which the packed dataset is kept for the next run',
    ),
  ];
}

/** Adds the commands that train, on this machine or over the network. */
export function addTrainingCommands(program: Command): void {
  const train = withConfig(program.command('train'));
  withTls(
    train,
    {
      cert: 'with --dashboard: PEM file of its certificate; read again when it is renewed',
      ca: 'with --dashboard: PEM file of an authority: browsers must show a certificate that it has signed',
    },
    '--dashboard',
  )
    .description('train on this machine, or on others by ssh: starts the workers, trains, validates, tests')
    .addOption(workersOption().conflicts('hosts'))
    .addOption(localThreadsOption())
    .option(
      '--hosts <file>',
      'start workers by ssh on these hosts, one a line: [USER@]HOST[:PORT] [slots=COUNT] [threads=COUNT]',
      filePath,
    )
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
  for (const option of portOptions()) train.addOption(requiring(option, '--hosts', '--browser-workers'));
  for (const option of hostsOptions()) train.addOption(requiring(option, '--hosts'));

  const coordinator = withConfig(program.command('coordinator'));
  withTls(coordinator, {
    cert: 'PEM file of a certificate: workers connect by TLS, to wss://, and so do browsers to --dashboard; read again when it is renewed',
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
    .addOption(
      datasetCacheOption('directory in which workers with the same --dataset-cache find the packed dataset'),
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
    .argument(
      '<urls...>',
      'ws://HOST:PORT of the coordinator, or wss:// where it has a certificate or a proxy; with standbys: of each, to be tried in turn',
    )
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
      '--give-up-after <seconds>',
      'end with exit code 5 once no coordinator was there for so long (default: never)',
      wholeNumber(1, 31_536_000),
    )
    .option(
      '--listen <host:port>',
      'take workers here too, if the coordinator wants a tree; port 0 picks one',
    )
    .addOption(
      requiring(
        new Option(
          '--announce <host:port>',
          'with --listen: the address that other workers are told, where they reach this port by another one',
        ),
        '--listen',
      ),
    )
    .addOption(
      datasetCacheOption(
        'directory from which datasets are read, and in which those that were fetched are kept',
      ),
    )
    .action(async (urls: string[], options: WorkerArguments) =>
      (await import('./worker-command.ts')).work(urls, options),
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
    .addOption(
      requiring(
        new Option('--trials <count>', 'trials of a random search')
          .argParser(wholeNumber(1, MAX_TRIALS))
          .default(20),
        '--method random',
      ),
    )
    .addOption(
      requiring(
        new Option('--seed <number>', 'seed of the draws')
          .argParser(wholeNumber(0, 4_294_967_295))
          .default(0),
        '--method random',
      ),
    )
    .option('--set <key.path=value>', 'override a config value; repeatable', collect, [])
    .option('--run-dir <dir>', 'directory for all trials (default: runs/<time>-<name>-tune)', filePath)
    .addOption(
      requiring(
        new Option('--resume', 'continue the search of --run-dir: trials that are over stay'),
        '--run-dir',
      ),
    )
    .option('--no-early-stop', 'run every trial to its end, even one that is worse than most others')
    .addOption(workersOption())
    .addOption(localThreadsOption())
    .option('--json', 'print the trials as JSON')
    .action(async (config: string, options: TuneArguments) =>
      (await import('./tune-command.ts')).runTune(config, options),
    );
}
