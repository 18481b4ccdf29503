// Values of the command line, and options that several commands have.
import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
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
  if (isCoordinatorUrl(text)) return text;
  throw new InvalidArgumentError('expected a URL such as wss://example.org/lockstep/.');
};

export const collect = (value: string, previous: readonly string[]): string[] => [...previous, value];

export const orAuto =
  (parse: (text: string) => number) =>
  (text: string): number | 'auto' =>
    text === 'auto' ? 'auto' : parse(text);

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
): Command {
  return command
    .addOption(
      new Option('--tls-cert <file>', descriptions.cert).argParser(filePath).env('LOCKSTEP_TLS_CERT'),
    )
    .addOption(
      new Option('--tls-key <file>', 'private key of --tls-cert').argParser(filePath).env('LOCKSTEP_TLS_KEY'),
    )
    .addOption(new Option('--tls-ca <file>', descriptions.ca).argParser(filePath).env('LOCKSTEP_TLS_CA'));
}
