// The syntax of the commands for data that have no config yet, and for a machine that has not trained yet.
import { Argument, Option } from 'commander';
import type { Command } from 'commander';
import { printData } from '../coordinator/output/results.ts';
import type { Shell } from './completion.ts';
import type { InitArguments, InspectArguments } from './data-commands.ts';
import type { DoctorArguments } from './doctor-command.ts';
import { filePath, delimiter, collect } from './syntax-options.ts';

/** Adds the commands for data that have no config yet, and for a machine that has not trained yet. */
export function addFirstCommands(program: Command): void {
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
