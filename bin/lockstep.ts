#!/usr/bin/env node
// The command line: reads arguments, calls one function, turns the outcome into text and an exit code.
import { Command, CommanderError } from 'commander';
import { EXIT, LockstepError, formatError } from '../src/errors.ts';
import { checkFailpoints } from '../src/failpoint.ts';
import { Screen } from '../src/screen.ts';
import { indentFurther } from '../src/printable.ts';
import { VERSION } from '../src/version.ts';
import { printData } from '../coordinator/output/results.ts';
import { Interrupted, orUncaught } from './endings.ts';
import { addBenchmarks } from './syntax-bench.ts';
import { addCerts, addStatus } from './syntax-cluster.ts';
import { addFirstCommands } from './syntax-first.ts';
import { addResultCommands } from './syntax-results.ts';
import { refuseIdleOptions } from './syntax-options.ts';
import { addTrainingCommands, addTune } from './syntax-training.ts';

/** Creates the parser of all commands. The output of `--help` and `--version` goes to `writeOut`. */
function createProgram(writeOut: (text: string) => void): Command {
  const program = new Command('lockstep')
    .description(
      'Trains neural networks data-parallel over WebSockets and WebAssembly, to the same bits for any number of workers.',
    )
    .version(VERSION)
    .exitOverride()
    .configureOutput({ writeOut, writeErr: (text) => new Screen().write(text) })
    .showHelpAfterError('(run with --help for usage)')
    .hook('preAction', (_, command) => refuseIdleOptions(command));
  addFirstCommands(program);
  addTrainingCommands(program);
  addStatus(program);
  addCerts(program);
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
