// `lockstep init` and `lockstep inspect`: a config that trains on data, and what data hold.
import path from 'node:path';
import { createInterface } from 'node:readline/promises';
import { requireFree, writeDraft } from '../coordinator/commands/init.ts';
import { inspect } from '../coordinator/commands/inspect.ts';
import { localPath } from '../coordinator/object-storage/fetch-objects.ts';
import { formatReport } from '../coordinator/output/data-tables.ts';
import { printData, printJson, printText } from '../coordinator/output/results.ts';
import { didYouMean } from '../src/config/suggest.ts';
import { displayPath } from '../src/data/dataset/source-file.ts';
import { LockstepError, listNames } from '../src/errors.ts';
import { chooseTask } from '../src/inspect/choose-training.ts';
import type { Task } from '../src/inspect/choose-training.ts';
import { requireColumn } from '../src/inspect/draft-table.ts';
import { findData } from '../src/inspect/find-data.ts';
import type { FoundData } from '../src/inspect/find-data.ts';
import { guessTargets } from '../src/inspect/guess-target.ts';
import type { ScannedTable } from '../src/inspect/scan-table.ts';
import { shellWord } from '../src/printable.ts';
import { Interrupted } from './endings.ts';
import { createOutput } from './runtime.ts';

/** Arguments of `lockstep init`. */
export interface InitArguments {
  readonly target?: string;
  readonly task?: Task['kind'];
  readonly labels?: string;
  readonly delimiter?: string;
  readonly drop: readonly string[];
  readonly name?: string;
  readonly output?: string;
  readonly force?: boolean;
  readonly yes?: boolean;
}

/** Writes a config for `data`, asking on a terminal for what cannot be known. */
export async function init(data: string, args: InitArguments): Promise<void> {
  const { log, screen } = createOutput();
  const { delimiter, drop, force = false, labels } = args;
  const name = args.name ?? nameOf(data);
  const output = args.output ?? `${name}.yaml`;
  if (!/\.ya?ml$/i.test(output)) throw noYaml(output);
  await requireFree(output, force);
  const say = (message: string): void => log.info(message);
  const known = { labels: labels && (await localPath(labels, { say })), delimiter };
  const found = await findData(await localPath(data, { say }), known);
  const answers = await settle(found, data, args);
  const lines = await writeDraft(found, { name, output, force, drop, ...answers });
  const next = `next      ${commandName()} train ${shellWord(output)}`;
  screen.write(`${lines.join('\n')}\n${next}\n`);
  await printData(`${output}\n`);
}

/** A name for the run: that of the file or folder, as far as names of runs allow it. */
function nameOf(data: string): string {
  const base = path.basename(path.resolve(data)).replace(/(\.[A-Za-z0-9]{1,8}){1,2}$/, '');
  const name = base
    .normalize('NFKD')
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 64);
  return name === '' ? 'model' : name;
}

function noYaml(output: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_OUTPUT',
    message: `--output ${output}: a config with comments is YAML`,
    help: 'give it a name that ends in .yaml',
  });
}

/** The command as the user has called it. */
function commandName(): string {
  const [, program = ''] = process.argv;
  if (process.env['npm_command'] === 'exec') return 'npx lockstep';
  return path.basename(program) === 'lockstep.js' ? `node ${shellWord(displayPath(program))}` : 'lockstep';
}

/** The answers that the user has given by flags, or gives now. */
async function settle(
  found: FoundData,
  data: string,
  { target, task, yes = false }: InitArguments,
): Promise<{ target?: string | undefined; task?: Task['kind'] | undefined }> {
  if (found.kind !== 'table') return { target, task };
  const { scanned } = found;
  if (target !== undefined) requireColumn(scanned, target);
  const mayAsk = !yes && process.stdin.isTTY && process.stderr.isTTY;
  const column = target ?? (await chooseTarget(scanned, { data, yes, mayAsk }));
  if (task !== undefined || !mayAsk || column === undefined) return { target: column, task };
  return { target: column, task: await askTask(scanned, column) };
}

async function chooseTarget(
  scanned: ScannedTable,
  { data, yes, mayAsk }: { readonly data: string; readonly yes: boolean; readonly mayAsk: boolean },
): Promise<string | undefined> {
  // A table of one column is refused later, whatever its target.
  const [guess, ...others] = guessTargets(scanned.columns);
  if (scanned.columns.length < 2) return undefined;
  const names = scanned.columns.map(({ name }) => name);
  if (guess === undefined) throw nothingToPredict(names);
  if (yes) return guess;
  if (!mayAsk) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_INIT_TARGET',
      message: `the column to predict is not named; columns: ${listNames(names)}`,
      help: `${commandName()} init ${shellWord(data)} --target ${shellWord(guess)}${others.length > 0 ? ', or another column' : ''}`,
    });
  }
  return ask(`Which column is to be predicted?\n  ${listNames(names, 40)}\n`, guess, (answer) =>
    names.includes(answer) ? undefined : `There is no such column${prefixed(didYouMean(answer, names))}.`,
  );
}

function prefixed(help: string | undefined): string {
  return help === undefined ? '' : `: ${help.replace(/\?$/, '')}`;
}

function nothingToPredict(names: readonly string[]): LockstepError {
  return new LockstepError({
    category: 'data',
    code: 'E_DATA_COLUMNS',
    message: `no column can be predicted; columns: ${listNames(names)}`,
    help: 'numbers, or texts that occur several times, can be',
  });
}

/** Asks whether a few whole numbers are classes or amounts. */
async function askTask({ columns }: ScannedTable, name: string): Promise<Task['kind'] | undefined> {
  const column = columns.find((facts) => facts.name === name);
  const task = column && chooseTask(column);
  if (!task?.isUnclear) return undefined;
  const question = `${name} has ${column?.numDistinct ?? 0} whole numbers. Are they classes, or numbers to predict?\n`;
  const answer = await ask(question, task.kind, (text) =>
    text === 'classes' || text === 'numbers' ? undefined : 'Type classes or numbers.',
  );
  return answer as Task['kind'];
}

/** Asks until the answer is one; an empty line is the default. Ctrl-C and Ctrl-D end the command. */
async function ask(
  question: string,
  standard: string,
  problemOf: (answer: string) => string | undefined,
): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const closed = new Promise<never>((_, reject) => {
    terminal.once('close', () => reject(new Interrupted('SIGINT')));
  });
  closed.catch(() => undefined);
  try {
    let text = question;
    for (;;) {
      const answer = (await Promise.race([terminal.question(`${text}[${standard}] `), closed])).trim();
      if (answer === '') return standard;
      const problem = problemOf(answer);
      if (problem === undefined) return answer;
      text = `${problem}\n`;
    }
  } finally {
    terminal.close();
  }
}

/** Arguments of `lockstep inspect`. */
export interface InspectArguments {
  readonly target?: string;
  readonly labels?: string;
  readonly delimiter?: string;
  readonly json?: boolean;
}

/** Prints what data, or those of a config, hold. */
export async function inspectData(
  place: string,
  { delimiter, json, labels, target }: InspectArguments,
): Promise<void> {
  const { log } = createOutput();
  const warn = (message: string): void => log.warn(message);
  const say = (message: string): void => log.info(message);
  const report = await inspect(place, { delimiter, labels, target, warn, say });
  if (json) return printJson(report);
  return printText(formatReport(report, process.stdout.columns ?? 80));
}
