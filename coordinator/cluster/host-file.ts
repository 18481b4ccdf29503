// The file of `--hosts`: the machines on which workers are started, one a line, in the format that mpirun
// and DeepSpeed read.
import { isIPv6 } from 'node:net';
import { didYouMean } from '../../src/config/suggest.ts';
import { LockstepError, quoteValue } from '../../src/errors.ts';
import { MAX_THREADS, MAX_WORKER_NAME_LENGTH, MAX_WORKERS } from '../../src/limits.ts';
import { countOf } from '../../src/printable.ts';
import { readRegularFileSync } from '../../src/regular-file.ts';

/** A worker that is to be started on a host. */
export interface HostWorker {
  /** Its name in logs: that of the host, with a number where the file asks for several there. */
  readonly name: string;
  /** A host name, an address, or an alias of ssh's configuration. */
  readonly host: string;
  /** Undefined for the one that ssh chooses. */
  readonly user: string | undefined;
  /** Undefined for the one that ssh chooses. */
  readonly port: number | undefined;
  /** Undefined where the file leaves it open. */
  readonly threads: number | undefined;
}

/** 1,024 long lines with comments fit many times over. */
const MAX_FILE_BYTES = 2 ** 20;
/** No option of ssh can hide in a name: it begins with no hyphen. */
const ADDRESS =
  /^(?:(?<user>[A-Za-z0-9_][\w.-]{0,63})@)?(?:\[(?<ipv6>[^\]]*)\]|(?<host>[A-Za-z0-9_][\w.-]{0,252}))(?::(?<port>\d+))?$/;
const SETTINGS = ['slots', 'threads'] as const;
const MOST: Readonly<Record<(typeof SETTINGS)[number], number>> = {
  slots: MAX_WORKERS,
  threads: MAX_THREADS,
};

/** Reads the file. @throws LockstepError (exit 2) that names the line */
export function readHostFile(file: string): HostWorker[] {
  try {
    return parseHostFile(readRegularFileSync(file, MAX_FILE_BYTES).toString(), file);
  } catch (error) {
    if (error instanceof LockstepError) throw error;
    throw problem(
      `cannot read it: ${(error as Error).message}`,
      { file },
      'give the path of a list of hosts',
    );
  }
}

/** The workers that the text of the file asks for, in its order. @throws LockstepError (exit 2) */
export function parseHostFile(text: string, file: string): HostWorker[] {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  const workers = lines.flatMap((line, index) => parseLine(line, { file, line: index + 1 }));
  if (workers.length === 0)
    throw problem('it names no host', { file }, 'write one host on each line: [USER@]HOST[:PORT]');
  if (workers.length > MAX_WORKERS)
    throw problem(
      `${countOf(workers.length, 'worker')}, expected at most ${MAX_WORKERS}`,
      { file },
      'one worker with many threads is faster than many workers on one host',
    );
  return named(workers);
}

type Unnamed = Omit<HostWorker, 'name'>;

function parseLine(line: string, location: Location): Unnamed[] {
  const [address, ...settings] = line.replace(/#.*/, '').trim().split(/\s+/);
  if (!address) return [];
  const { slots, threads } = parseSettings(settings, location);
  // Whoever counts workers by slots has one for each core.
  const ofOne = slots === undefined ? undefined : 1;
  const worker = { ...parseAddress(address, location), threads: threads ?? ofOne };
  return Array.from({ length: slots ?? 1 }, () => worker);
}

function parseAddress(text: string, location: Location): Pick<HostWorker, 'host' | 'user' | 'port'> {
  if (isIPv6(text)) return { host: text, user: undefined, port: undefined };
  const { user, ipv6, host = ipv6, port } = ADDRESS.exec(text)?.groups ?? {};
  if (host === undefined || (ipv6 !== undefined && !isIPv6(ipv6)))
    throw problem(
      `${quoteValue(text)} is no host`,
      location,
      'expected [USER@]HOST[:PORT], with an IPv6 address in brackets',
    );
  if (port !== undefined && !(Number(port) >= 1 && Number(port) <= 65_535))
    throw problem(`port ${port}, expected 1 to 65535`, location);
  return { host, user, port: port === undefined ? undefined : Number(port) };
}

function parseSettings(
  texts: readonly string[],
  location: Location,
): Partial<Record<(typeof SETTINGS)[number], number>> {
  const settings: Partial<Record<(typeof SETTINGS)[number], number>> = {};
  for (const text of texts) {
    const [key = '', value = ''] = text.split(/=(.*)/s);
    const name = SETTINGS.find((known) => known === key);
    if (name === undefined) {
      const help = didYouMean(key, SETTINGS) ?? 'expected slots=COUNT or threads=COUNT after the host';
      throw problem(`${quoteValue(text)} is not known`, location, help);
    }
    if (settings[name] !== undefined) throw problem(`${name} stands there twice`, location);
    const count = /^\d{1,9}$/.test(value) ? Number(value) : 0;
    if (count < 1 || count > MOST[name])
      throw problem(`${quoteValue(text)}: expected a whole number from 1 to ${MOST[name]}`, location);
    settings[name] = count;
  }
  return settings;
}

/** Names the workers after their hosts, and numbers those that share one. */
function named(workers: readonly Unnamed[]): HostWorker[] {
  const counts = new Map<string, number>();
  return workers.map((worker) => {
    const { host } = worker;
    const number = (counts.get(host) ?? 0) + 1;
    counts.set(host, number);
    const isOnly = workers.filter((other) => other.host === host).length === 1;
    const suffix = isOnly ? '' : `/${number}`;
    return { ...worker, name: host.slice(0, MAX_WORKER_NAME_LENGTH - suffix.length) + suffix };
  });
}

interface Location {
  readonly file: string;
  readonly line?: number;
}

function problem(message: string, location: Location, help?: string): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_HOSTS_FILE', message, location, help });
}
