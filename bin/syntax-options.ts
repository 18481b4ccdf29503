// Values of the command line, and options that several commands have.
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { LockstepError } from '../src/errors.ts';
import { DEFAULT_FAN_IN, MAX_FAN_IN, MAX_THREADS, MAX_WORKERS } from '../src/limits.ts';

export const wholeNumber =
  (least: number, most: number) =>
  (text: string): number => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}.`);
  };

export const filePath = (text: string): string => {
  if (text !== '') return text;
  throw new InvalidArgumentError('expected a path; this one is empty.');
};

export const delimiter = (text: string): string => {
  if (text === 'tab') return '\t';
  if (text === 'spaces' || text.length === 1) return text;
  throw new InvalidArgumentError('expected one character, tab or spaces.');
};

export const isCoordinatorUrl = (text: string): boolean => /^wss?:\/\/\S+$/.test(text) && URL.canParse(text);

export const coordinatorUrl = (text: string): string => {
  if (!isCoordinatorUrl(text))
    throw new InvalidArgumentError('expected a URL such as wss://example.org/lockstep/.');
  const { hash, password, search, username } = new URL(text);
  if (hash + password + search + username === '') return text;
  throw new InvalidArgumentError('expected a URL without a password, parameters or a fragment.');
};

export const collect = (value: string, previous: readonly string[]): string[] => [...previous, value];

export const orAuto =
  (parse: (text: string) => number) =>
  (text: string): number | 'auto' =>
    text === 'auto' ? 'auto' : parse(text);

/** The options that each option goes with, such as `--hosts` or `--method random`; one of them is enough. */
const COMPANIONS = new WeakMap<Option, readonly string[]>();

/** Makes it an error to give an option without any of the others, without which it would do nothing. */
export function requiring(option: Option, ...companions: readonly string[]): Option {
  COMPANIONS.set(option, companions);
  return option;
}

/** @throws LockstepError (exit 2) for an option that would do nothing; one from the environment is for some commands alone */
export function refuseIdleOptions(command: Command): void {
  const sourceOf = (option: Option): string | undefined =>
    command.getOptionValueSource(option.attributeName());
  const isGiven = (companion: string): boolean => {
    const [flag, value] = companion.split(' ');
    const option = command.options.find(({ long }) => long === flag);
    if (!option) return false;
    if (value !== undefined) return command.getOptionValue(option.attributeName()) === value;
    return !['default', undefined].includes(sourceOf(option));
  };
  for (const option of command.options) {
    const companions = COMPANIONS.get(option);
    if (!companions || sourceOf(option) !== 'cli' || companions.some(isGiven)) continue;
    const needed = companions.join(' or ');
    throw new LockstepError({
      category: 'usage',
      code: 'E_FLAG_UNUSED',
      message: `${option.long} requires ${needed}`,
      help: `leave it out, or add ${needed}`,
    });
  }
}

export const threadsOption = (description: string): Option =>
  new Option('--threads <count>', description).argParser(wholeNumber(1, MAX_THREADS)).env('LOCKSTEP_THREADS');

export const workersOption = (): Option =>
  new Option('--workers <count>', 'worker processes; auto or 0: compute in this process')
    .argParser(orAuto(wholeNumber(0, MAX_WORKERS)))
    .default('auto')
    .env('LOCKSTEP_WORKERS');

export const localThreadsOption = (): Option =>
  threadsOption(
    'compute threads of this process, or of each worker; auto: as many as prove to be fastest, 1 in a worker',
  )
    .argParser(orAuto(wholeNumber(1, MAX_THREADS)))
    .default('auto');

export const topologyOption = (): Option =>
  new Option('--topology <shape>', 'star: the coordinator serves all workers; tree: workers serve others')
    .choices(['star', 'tree'])
    .default('star');

export const fanInOption = (): Option =>
  new Option(
    '--fan-in <count>',
    `workers that each place of a tree serves itself (default: ${DEFAULT_FAN_IN})`,
  ).argParser(wholeNumber(2, MAX_FAN_IN));

export const datasetCacheOption = (description: string): Option =>
  new Option('--dataset-cache <dir>', description).argParser(filePath).env('LOCKSTEP_DATASET_CACHE');

/** Adds the files of a port that speaks TLS, or of one end of a secure connection. */
export function withTls(
  command: Command,
  descriptions: { readonly cert: string; readonly ca: string },
  ...companions: readonly string[]
): Command {
  const add = (name: string, description: string, variable: string): Command => {
    const option = new Option(`${name} <file>`, description).argParser(filePath).env(variable);
    return command.addOption(companions.length > 0 ? requiring(option, ...companions) : option);
  };
  add('--tls-cert', descriptions.cert, 'LOCKSTEP_TLS_CERT');
  add('--tls-key', 'private key of --tls-cert', 'LOCKSTEP_TLS_KEY');
  return add('--tls-ca', descriptions.ca, 'LOCKSTEP_TLS_CA');
}
