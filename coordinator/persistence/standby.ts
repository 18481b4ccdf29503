// A standby: follows the run in a directory that another process leads, and takes its turn when that one has
// ended, died or gone silent. What has to be known about the run is in its lock and its events.
import fs from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { listGenerations, readLast } from '../../src/checkpoint/find-checkpoint.ts';
import type { LockOwner } from '../../src/checkpoint/lock-owner.ts';
import { Candidate, type LockOptions, type Occupant, type RunLock } from '../../src/checkpoint/run-lock.ts';
import { removeStaleTemporaries } from '../../src/durable-write.ts';
import { EXIT, LockstepError, systemErrorCode } from '../../src/errors.ts';
import type { ErrorCategory } from '../../src/errors.ts';
import { JsonlTail } from '../../src/line-file.ts';
import type { Logger } from '../../src/log.ts';
import { makeRunDirectory, RunDirectory } from '../output/run-directory.ts';
import { readSummary } from '../output/run-list.ts';
import type { StandbyReport } from '../output/run-status.ts';
import type { Takeover } from '../output/run-recorder.ts';
import type { Summary } from '../output/summary.ts';
import { manifestOf } from './resume.ts';
import { requireSameRun, type RunIdentity } from './run-identity.ts';

/** The run to follow, and what to tell about it. */
export interface StandbyOptions extends LockOptions {
  /** The directory of the run; made if there is none. */
  readonly directory: string;
  /** The run that this process is ready for. */
  readonly identity: RunIdentity;
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Called with what is known about the run, again and again. */
  readonly onFollowed: (report: StandbyReport) => void;
}

/** The end of standing by. */
export type Turn =
  { readonly lock: RunLock; readonly takeover: Takeover | undefined } | { readonly summary: Summary };

/** Pause between two looks at the lock. */
const LOOK_MS = 200;
/** Looks at the lock for each look at the rest of the directory. */
const LOOKS_PER_READ = 5;
/** Longest time for which a directory that was there may fail, as on a file server that starts again. */
const MAX_AWAY_MS = 300_000;
/** Takeovers in a row without a new checkpoint: what has ended those leaders may well end the next one. */
const MAX_TAKEOVERS = 5;
/** Ends of a leader after which another would end in the same way, or was not wanted. */
const FINAL: readonly number[] = [EXIT.usage, EXIT.data, EXIT.diverged, EXIT.interrupted];

/**
 * Waits until this process has the directory, and the run in it is to go on; or until the run is over.
 * @throws LockstepError for a run that was stopped, or that fails again and again; one of other bits (exit 4);
 * or the signal's reason
 */
export async function awaitTurn(options: StandbyOptions): Promise<Turn> {
  const made = await makeRunDirectory(options.directory);
  try {
    return await new Standby(options).awaitTurn();
  } catch (error) {
    for (const directory of made.toReversed()) await fs.rmdir(directory).catch(() => undefined);
    throw error;
  }
}

class Standby {
  readonly #options: StandbyOptions;
  readonly #candidate: Candidate;
  readonly #run: RunDirectory;
  readonly #records: EventReader;
  #leader: LockOwner | undefined;
  /** `performance.now()` when the leader was last known to be alive. */
  #aliveMs = performance.now();
  #newestCheckpoint: number | undefined;
  #isSameRun = false;
  /** `performance.now()` when the directory began to fail; undefined while it does not. */
  #awaySinceMs: number | undefined;

  constructor(options: StandbyOptions) {
    this.#options = options;
    const { address, directory, lease } = options;
    this.#candidate = new Candidate(directory, { address, lease });
    this.#run = new RunDirectory(directory);
    this.#records = new EventReader(this.#run.eventsPath);
  }

  async awaitTurn(): Promise<Turn> {
    const { signal } = this.#options;
    for (let numLooks = 0; ; numLooks++) {
      signal.throwIfAborted();
      const outcome = this.#tryToLead();
      if (outcome && 'release' in outcome) return this.#begin(outcome);
      if (numLooks % LOOKS_PER_READ === 0) await this.#read();
      if (outcome) this.#follow(outcome);
      await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Undefined where the disk fails, after it did not at first. */
  #tryToLead(): RunLock | Occupant | undefined {
    try {
      const outcome = this.#candidate.tryToLead(() => true);
      this.#awaySinceMs = undefined;
      return outcome;
    } catch (error) {
      if (!this.#leader || systemErrorCode((error as Error).cause) === undefined) throw error;
      const nowMs = performance.now();
      if (this.#awaySinceMs === undefined)
        this.#options.log.warn(
          `${(error as Error).message}; trying again for ${MAX_AWAY_MS / 60_000} minutes`,
        );
      this.#awaySinceMs ??= nowMs;
      if (nowMs - this.#awaySinceMs >= MAX_AWAY_MS) throw error;
      return undefined;
    }
  }

  #follow({ file, owner, silentSeconds }: Occupant): void {
    const { address, log, onFollowed } = this.#options;
    if (!owner) return;
    this.#aliveMs = performance.now() - 1000 * silentSeconds;
    if (owner.token !== this.#leader?.token) {
      const here = address === undefined ? '' : ` at ${address}`;
      const at = owner.address === null ? '' : `, at ${owner.address}`;
      const never = owner.lease === null ? `; it has no lease: if it dies elsewhere, remove ${file}` : '';
      log.info(`standing by${here}: ${describe(owner)} leads${at}${never}`);
    }
    this.#leader = owner;
    onFollowed({
      leader: describe(owner),
      address: owner.address,
      silentSeconds,
      leaseSeconds: owner.lease,
      step: this.#records.step,
      newestCheckpoint: this.#newestCheckpoint ?? null,
    });
  }

  /** Reads what the leader has written, as far as it is new. */
  async #read(): Promise<void> {
    this.#records.read();
    const { checkpointsPath } = this.#run;
    const [newest] = await listGenerations(checkpointsPath).catch(() => []);
    this.#newestCheckpoint = newest?.step;
    if (newest && !this.#isSameRun) await this.#requireSameRun();
  }

  /** Refuses a config of other bits now, not when it is too late. */
  async #requireSameRun(): Promise<void> {
    // One that vanishes while it is read is replaced by a newer one.
    const found = await readLast(this.#run.checkpointsPath, { warn: () => undefined }).catch(() => undefined);
    if (!found) return;
    requireSameRun(manifestOf(found).identity, this.#options.identity, found.path);
    this.#isSameRun = true;
  }

  /** Decides what to do with a directory that is ours. */
  async #begin(lock: RunLock): Promise<Turn> {
    try {
      // First of all: what an earlier leader still writes gets no name from now on.
      const { checkpointsPath, modelPath, path: directory } = this.#run;
      for (const folder of [directory, checkpointsPath, modelPath]) {
        await removeStaleTemporaries(folder).catch(() => undefined);
      }
      lock.requireSurely();
      this.#records.read();
      const summary = this.#readSummary();
      if (summary) {
        lock.release();
        return { summary };
      }
      this.#refuseFinal();
      return { lock, takeover: this.#describeTakeover(lock) };
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** The result, if the run is over. */
  #readSummary(): Summary | undefined {
    if (!this.#records.isFinished) return undefined;
    return readSummary(this.#run.summaryPath) as Summary | undefined;
  }

  #refuseFinal(): void {
    const { end, numTakeovers } = this.#records;
    const { directory } = this.#options;
    const again = `to go on all the same: --resume last --run-dir ${directory}`;
    if (end && FINAL.includes(end.exitCode)) {
      throw new LockstepError({
        category: categoryOf(end.exitCode),
        code: 'E_RUN_STOPPED',
        message: `${directory}: the run has ended (${end.reason}), and a standby does not take it up`,
        help: again,
      });
    }
    if (numTakeovers < MAX_TAKEOVERS) return;
    throw new LockstepError({
      category: 'failure',
      code: 'E_STANDBY_GIVES_UP',
      message: `${directory}: ${numTakeovers} leaders in a row have ended before they saved a checkpoint`,
      help: `see output.log there; ${again}`,
    });
  }

  #describeTakeover({ predecessor }: RunLock): Takeover | undefined {
    const leader = predecessor ?? this.#leader;
    if (!leader) return undefined;
    const reason = !predecessor ? 'ended' : predecessor.isDead ? 'died' : 'silent';
    return { leader: describe(leader), reason, silentSeconds: (performance.now() - this.#aliveMs) / 1000 };
  }
}

/** The events of a run, read while they are written. */
class EventReader {
  readonly #tail: JsonlTail;
  step = 0;
  isFinished = false;
  /** The end of the last leader, if it told of one. */
  end: { readonly reason: string; readonly exitCode: number } | undefined;
  /** Takeovers since the last checkpoint. */
  numTakeovers = 0;

  constructor(eventsPath: string) {
    this.#tail = new JsonlTail(eventsPath);
  }

  read(): void {
    try {
      for (const record of this.#tail.read()) this.#take(record);
    } catch {
      // It is read again.
    }
  }

  #take({ type, step, reason, exitCode }: Record<string, unknown>): void {
    if (type === 'stepDone') this.step = Number(step);
    else if (type === 'checkpointSaved') this.numTakeovers = 0;
    else if (type === 'runTakenOver') this.numTakeovers++;
    else if (type === 'runFinished') this.isFinished = true;
    else if (type === 'stopRequested' || type === 'runEnded')
      this.end = { reason: String(reason), exitCode: Number(exitCode) };
    else if (type === 'runStarted') [this.isFinished, this.end] = [false, undefined];
  }
}

function describe({ host, pid }: LockOwner): string {
  return `pid ${pid} on host ${host}`;
}

function categoryOf(exitCode: number): ErrorCategory {
  const found = Object.entries(EXIT).find(([, code]) => code === exitCode);
  return (found?.[0] ?? 'failure') as ErrorCategory;
}
