// The process that owns a lock: described by what tells it from a later one that got its number, read back
// from a file, and found to be alive or dead.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import { systemErrorCode } from '../errors.ts';
import { parseJson } from '../json.ts';
import { MAX_LEASE_S } from '../limits.ts';

/** The process that has a run directory. */
export interface LockOwner {
  readonly pid: number;
  readonly host: string;
  /** Identifies the last start of the machine; null where the system does not tell (only Linux does). */
  readonly bootId: string | null;
  /** The set of processes that `pid` counts in: a container has its own. Null as above. */
  readonly pidNamespace: string | null;
  /** Start time of the process, in ticks since the machine started. Null as above. */
  readonly startTicks: string | null;
  /** The start by Slurm that it belongs to, and the number of earlier ones; null outside of Slurm. */
  readonly slurm: { readonly id: string; readonly restarts: number } | null;
  /** Seconds without a sign of life after which another process may take the lock; null: never. */
  readonly lease: number | null;
  /** The address at which it takes workers; null if it takes none. */
  readonly address: string | null;
  /** Start time for people; no decision depends on a clock. */
  readonly startedAt: string;
  /** A token that differs for every lock. */
  readonly token: string;
}

const TOKEN = /^[0-9a-f]{24}$/;

/** A token that no lock has yet. */
export function newToken(): string {
  return randomBytes(12).toString('hex');
}

/** Describes this process, with a new token. */
export function describeSelf({
  lease = null,
  address = null,
}: {
  readonly lease?: number | null | undefined;
  readonly address?: string | null | undefined;
} = {}): LockOwner {
  return {
    pid: process.pid,
    host: os.hostname(),
    bootId: readText('/proc/sys/kernel/random/boot_id')?.trim() ?? null,
    pidNamespace: readPidNamespace(),
    startTicks: readProcess(process.pid)?.startTicks ?? null,
    slurm: readSlurm(),
    lease,
    address,
    startedAt: new Date().toISOString(),
    token: newToken(),
  };
}

function readSlurm(): LockOwner['slurm'] {
  const { SLURM_CLUSTER_NAME = '', SLURM_JOB_ID, SLURM_RESTART_COUNT = '0' } = process.env;
  if (SLURM_JOB_ID === undefined || !/^\d{1,9}$/.test(SLURM_RESTART_COUNT)) return null;
  return { id: `${SLURM_CLUSTER_NAME}/${SLURM_JOB_ID}`, restarts: Number(SLURM_RESTART_COUNT) };
}

function readPidNamespace(): string | null {
  try {
    return fs.readlinkSync('/proc/self/ns/pid');
  } catch {
    return null;
  }
}

/** The owner in the text of a lock; undefined if it names none. */
export function parseOwner(text: string | undefined): LockOwner | undefined {
  try {
    const value = parseJson(text ?? '') as Partial<Record<keyof LockOwner, unknown>>;
    // It may be shown on a terminal.
    const isText = (field: unknown): boolean => typeof field === 'string' && /^\P{Cc}{1,255}$/u.test(field);
    const isTextOrNull = (field: unknown): boolean => field === null || isText(field);
    const { pid, host, bootId, pidNamespace, startTicks, slurm, lease, address, startedAt, token } = value;
    const isWhole =
      Number.isSafeInteger(pid) &&
      (pid as number) > 0 &&
      [host, startedAt, token].every(isText) &&
      [bootId, pidNamespace, startTicks, address].every(isTextOrNull) &&
      isLease(lease) &&
      isSlurm(slurm) &&
      TOKEN.test(token as string);
    return isWhole ? (value as LockOwner) : undefined;
  } catch {
    return undefined;
  }
}

function isLease(value: unknown): boolean {
  return value === null || (typeof value === 'number' && value > 0 && value <= MAX_LEASE_S);
}

function isSlurm(value: unknown): boolean {
  if (value === null) return true;
  const { id, restarts } = value as Partial<Record<'id' | 'restarts', unknown>>;
  return typeof id === 'string' && Number.isSafeInteger(restarts);
}

/** The state of an owner as this process knows it: `unknown` says why it cannot tell. */
export type OwnerState = 'dead' | 'alive' | { readonly unknown: string };

/** Tells whether an owner is certain to be dead or alive. */
export function stateOfOwner(owner: LockOwner, self: LockOwner): OwnerState {
  if (isEarlierStart(owner, self)) return 'dead';
  if (owner.host !== self.host) return { unknown: 'this host cannot tell' };
  if (owner.bootId !== self.bootId) {
    // The machine has restarted since, unless another one has its name: a lease is waited for.
    return owner.lease === null ? 'dead' : { unknown: 'it is of another start of this host' };
  }
  if (owner.pidNamespace !== self.pidNamespace) {
    return { unknown: 'it is or was in another container, so this one cannot tell' };
  }
  if (isAlive(owner)) return 'alive';
  // Where /proc is mounted with hidepid, processes of other users are not seen there.
  if (!isVisible(owner.pid)) return { unknown: 'it may be of another user, so this one cannot tell' };
  return 'dead';
}

/** Tells whether Slurm had started an owner for the same as `self`, which it starts again only once that has ended. */
function isEarlierStart({ slurm: earlier }: LockOwner, { slurm }: LockOwner): boolean {
  return earlier !== null && slurm !== null && earlier.id === slurm.id && earlier.restarts < slurm.restarts;
}

/** Tells whether an owner of this machine still runs. */
function isAlive({ pid, startTicks }: LockOwner): boolean {
  if (startTicks === null) return answersToSignals(pid);
  const found = readProcess(pid);
  // A zombie has ended; another start time is another process.
  return found !== undefined && found.startTicks === startTicks && !/[ZX]/.test(found.state);
}

/** Tells whether a process that exists would be seen. */
function isVisible(pid: number): boolean {
  return readProcess(pid) !== undefined || !answersToSignals(pid);
}

function answersToSignals(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemErrorCode(error) === 'EPERM';
  }
}

/** Reads /proc/PID/stat; undefined if there is no such process, or no such file system. */
function readProcess(pid: number): { readonly state: string; readonly startTicks: string } | undefined {
  // A process that ends while it is read gives ESRCH.
  let stat: string | undefined;
  try {
    stat = readText(`/proc/${pid}/stat`);
  } catch {
    stat = undefined;
  }
  // pid (name) state ...; the name may hold anything. The start is field 22, the state field 3.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTicks] = [fields?.[0], fields?.[19]];
  return state !== undefined && startTicks !== undefined ? { state, startTicks } : undefined;
}

function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
