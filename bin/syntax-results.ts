// The syntax of the commands that use or check the results of a run.
import { Option } from 'commander';
import type { Command } from 'commander';
import type { DashboardArguments } from './dashboard-command.ts';
import type { EvaluateArguments, PredictArguments } from './model-command.ts';
import type { ReplayArguments } from './run-commands.ts';
import type { CompareArguments, RunsArguments } from './runs-command.ts';
import type { ExportArguments } from './export-command.ts';
import type { ServeArguments } from './serve-command.ts';
import { wholeNumber, filePath, collect, requiring, withTls } from './syntax-options.ts';

/** Adds the commands that use or check the results of a run. */
export function addResultCommands(program: Command): void {
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
    .addOption(
      new Option('--format <name>', 'of the predictions').choices(['csv', 'jsonl', 'npz']).default('csv'),
    )
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

  withTls(program.command('serve'), {
    cert: 'PEM file of a certificate: requests come by TLS, to https://; read again when it is renewed',
    ca: 'PEM file of an authority: clients must show a certificate that it has signed',
  })
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
    .addOption(
      requiring(
        new Option('--labels <file>', 'labels of --data, where these are images').argParser(filePath),
        '--data',
      ),
    )
    .option('--json', 'print the metrics as JSON')
    .action(async (run: string, options: EvaluateArguments) =>
      (await import('./model-command.ts')).evaluate(run, options),
    );

  withTls(program.command('dashboard'), {
    cert: 'PEM file of a certificate: the page is at https://; read again when it is renewed',
    ca: 'PEM file of an authority: browsers must show a certificate that it has signed',
  })
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
