// Links as the options of benchmarks describe them: `100mbit`, `5ms`.
import { LockstepError } from '../src/errors.ts';

/** The speed and delay of every link of a cluster, both ways at once. */
export interface LinkSpeed {
  /** Infinity where nothing limits it. */
  readonly bytesPerMs: number;
  /** Time of a byte from one end to the other. */
  readonly latencyMs: number;
}

/** Bytes that a unit of bandwidth moves in a millisecond. */
const BYTES_PER_MS: Readonly<Record<string, number>> = { kbit: 0.125, mbit: 125, gbit: 125_000 };
const MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000 };
/** A slower link does not move a message before its receiver gives it up. */
const LEAST_BYTES_PER_MS = 125;
const MOST_LATENCY_MS = 1000;

/** The speed of links as flags give it. */
interface LinkFlags {
  readonly bandwidth: string;
  readonly latency: string;
}

/** The links of a cluster in words; without a fan-in it is a star. */
export function describeLinks({
  bandwidth,
  latency,
  fanIn,
}: LinkFlags & { readonly fanIn: number | undefined }): string {
  const shape = fanIn === undefined ? 'star' : `tree with fan-in ${fanIn}`;
  return `${shape}, ${bandwidth} each way, ${latency} one way`;
}

/** Parses `--bandwidth` and `--latency`. @throws LockstepError for what is neither */
export function parseLink({ bandwidth, latency }: LinkFlags): LinkSpeed {
  const bytesPerMs = bandwidth === 'unlimited' ? Infinity : parseQuantity(bandwidth, BYTES_PER_MS);
  if (!(bytesPerMs >= LEAST_BYTES_PER_MS))
    throw unreadable(
      `--bandwidth ${bandwidth}`,
      'a speed from 1mbit on, such as 100mbit or 1gbit, or unlimited',
    );
  const latencyMs = parseQuantity(latency, MS);
  if (!(latencyMs <= MOST_LATENCY_MS))
    throw unreadable(`--latency ${latency}`, 'a time up to 1s, such as 500us or 5ms');
  return { bytesPerMs, latencyMs };
}

/** True for a link that is none: it takes neither time for a byte nor until it arrives. */
export function isUnlimited({ bytesPerMs, latencyMs }: LinkSpeed): boolean {
  return bytesPerMs === Infinity && latencyMs === 0;
}

/** A number and one of these units; NaN for anything else. */
function parseQuantity(text: string, units: Readonly<Record<string, number>>): number {
  const match = /^(\d{1,9}(?:\.\d{1,6})?)([a-z]+)$/.exec(text);
  return Number(match?.[1]) * (units[match?.[2] ?? ''] ?? Number.NaN);
}

function unreadable(what: string, expected: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_BENCH_LINK',
    message: `${what}: expected ${expected}`,
  });
}
