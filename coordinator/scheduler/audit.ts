// The audit of a round: all sums that workers sent, side by side. Equal shards give equal bytes, so
// two sums of one node that differ prove a lie, or a broken machine; and two equal ones from
// different processes are what an audited node needs. Beside it, the track records of processes:
// what of the run rests on whose word alone.
import { nodeKey, shardsUnder } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import { COORDINATOR } from './outcome.ts';
import type { DigestKind, RoundPlan } from './outcome.ts';

/** The share of a round that is computed twice. */
export interface AuditPolicy {
  /** Share of nodes, 0 to 1. */
  readonly share: number;
  /** A draw in [0, 1) that workers must not be able to foresee. */
  readonly random: () => number;
}

interface Witness {
  readonly worker: number;
  readonly instance: string;
  readonly digest: string;
}

interface BucketRecord {
  readonly witnesses: Witness[];
  /** True once it is part of the round's sum. */
  isTaken: boolean;
}

interface NodeRecord {
  readonly node: TreeNode;
  readonly isAudited: boolean;
  readonly buckets: Map<number, BucketRecord>;
  /** Digests that the coordinator itself computed, by bucket. */
  truth: readonly string[] | undefined;
  isInDoubt: boolean;
}

/** A sum that was taken on the word of one process. */
export interface Unwitnessed {
  readonly node: TreeNode;
  /** Processes that have sent it already. */
  readonly instances: ReadonlySet<string>;
}

/** The result of comparing a sum with what is known of its node. */
export type Verdict = 'sound' | 'doubtful' | 'false';

/** The audit of one round. */
export class Audit {
  readonly #policy: AuditPolicy;
  readonly #numShards: number;
  readonly #nodes = new Map<string, NodeRecord>();
  #isNotFinite = false;

  constructor(policy: AuditPolicy, numShards: number) {
    this.#policy = policy;
    this.#numShards = numShards;
  }

  /**
   * The kind of digest for sums of a node. An audited one is drawn when first asked for,
   * after a worker computed it.
   */
  digestKind(node: TreeNode): DigestKind {
    return this.#record(node).isAudited ? 'strong' : 'fast';
  }

  /**
   * Notes a sum; it is false if it, or an earlier one of the bucket, contradicts
   * the truth about its node.
   */
  examine(node: TreeNode, bucket: number, witness: Witness, isFinite: boolean): Verdict {
    const { truth } = this.#record(node);
    const { witnesses } = this.#bucket(node, bucket);
    witnesses.push(witness);
    const isContradiction = witness.digest !== (truth?.[bucket] ?? witnesses[0]?.digest);
    if (isContradiction && this.liars(node).size > 0) return 'false';
    return isContradiction || !isFinite ? 'doubtful' : 'sound';
  }

  /** Notes that the bucket of a node has become part of the round's sum. */
  take(node: TreeNode, bucket: number): void {
    this.#bucket(node, bucket).isTaken = true;
  }

  /** Notes that the round's sum is not finite: it can only end with a ban, or as diverged. */
  markNotFinite(): void {
    this.#isNotFinite = true;
  }

  get isNotFinite(): boolean {
    return this.#isNotFinite;
  }

  /** Puts a node in doubt until the truth is known; returns false if it is, or if the truth is known. */
  doubt(node: TreeNode): boolean {
    const record = this.#record(node);
    if (record.isInDoubt || record.truth) return false;
    record.isInDoubt = true;
    return true;
  }

  /** Takes the truth about a node; returns those who said something else, as `liars` does. */
  settle(node: TreeNode, truth: readonly string[]): ReadonlyMap<string, number> {
    const record = this.#record(node);
    record.truth = truth;
    record.isInDoubt = false;
    return this.liars(node);
  }

  /** Processes that contradicted the truth about a node, each with a worker as which it did so. */
  liars(node: TreeNode): ReadonlyMap<string, number> {
    const { buckets, truth } = this.#record(node);
    const wrong = [...buckets].flatMap(([bucket, { witnesses }]) =>
      witnesses.filter(({ digest }) => truth !== undefined && digest !== truth[bucket]),
    );
    return new Map(wrong.map(({ instance, worker }) => [instance, worker]));
  }

  /** True while the referee is at work on some node. */
  get isInDoubt(): boolean {
    return [...this.#nodes.values()].some((record) => record.isInDoubt);
  }

  /**
   * True when every sum taken is finite, out of doubt and, if audited, confirmed: a
   * whole round may then end.
   */
  get isSettled(): boolean {
    return !this.#isNotFinite && !this.isInDoubt && this.unwitnessed().length === 0;
  }

  /** Nodes that are part of the round's sum. */
  taken(): TreeNode[] {
    const isTaken = ({ buckets }: NodeRecord): boolean =>
      [...buckets.values()].some((bucket) => bucket.isTaken);
    return [...this.#nodes.values()].filter(isTaken).map(({ node }) => node);
  }

  /** Audited nodes that nobody has confirmed yet, in the order of shards. */
  unwitnessed(): Unwitnessed[] {
    const waiting = [...this.#nodes.values()].filter((record) => !record.isInDoubt && isUnwitnessed(record));
    const start = ({ node }: NodeRecord): number => shardsUnder(node, this.#numShards).from;
    return waiting
      .sort((a, b) => start(a) - start(b))
      .map(({ node, buckets }) => ({ node, instances: soleWitnesses(buckets) }));
  }

  /**
   * Processes on whose word alone some sum is part of the round's; none of a round that is not
   * finite, which has no sum.
   */
  soleWitnesses(): ReadonlySet<string> {
    if (this.#isNotFinite) return new Set();
    const unsettled = [...this.#nodes.values()].filter(({ truth }) => !truth);
    return new Set(unsettled.flatMap(({ buckets }) => [...soleWitnesses(buckets)]));
  }

  #bucket(node: TreeNode, bucket: number): BucketRecord {
    const { buckets } = this.#record(node);
    const known = buckets.get(bucket);
    if (known) return known;
    const fresh = { witnesses: [], isTaken: false };
    buckets.set(bucket, fresh);
    return fresh;
  }

  #record(node: TreeNode): NodeRecord {
    const name = nodeKey(node);
    const known = this.#nodes.get(name);
    if (known) return known;
    const isAudited = this.#policy.share > 0 && this.#policy.random() < this.#policy.share;
    const fresh = { node, isAudited, buckets: new Map(), truth: undefined, isInDoubt: false };
    this.#nodes.set(name, fresh);
    return fresh;
  }
}

function isUnwitnessed({ isAudited, truth, buckets }: NodeRecord): boolean {
  return isAudited && !truth && [...buckets.values()].some(hasSoleWitness);
}

/** Tells whether a bucket was taken on the word of one process that is not the coordinator itself. */
function hasSoleWitness({ isTaken, witnesses }: BucketRecord): boolean {
  const [first, ...others] = witnesses;
  if (!isTaken || witnesses.some(({ instance }) => instance === COORDINATOR.instance)) return false;
  return others.every(({ instance }) => instance === first?.instance);
}

function soleWitnesses(buckets: NodeRecord['buckets']): Set<string> {
  const waiting = [...buckets.values()].filter(hasSoleWitness);
  return new Set(waiting.flatMap(({ witnesses }) => witnesses.map(({ instance }) => instance)));
}

/** A round that is over. */
interface LastRound {
  readonly plan: RoundPlan;
  readonly audit: Audit;
}

interface TrackRecord {
  numFailedInRow: number;
  trustedSteps: number | undefined;
}

/** Processes that are remembered: those that did something most recently. */
const MAX_PROCESSES = 10_000;

/** The records of all processes. A state is named by the number of optimizer steps that led to it. */
export class TrackRecords {
  readonly #records = new Map<string, TrackRecord>();
  /** The trusted steps of the processes that are forgotten. */
  #forgottenSteps: number | undefined;

  /** Notes that a process failed on a task; returns how many it failed in a row. */
  fail(instance: string): number {
    return ++this.#of(instance).numFailedInRow;
  }

  /** Notes that a process delivered a task. */
  deliver(instance: string): void {
    const record = this.#records.get(instance);
    if (record) record.numFailedInRow = 0;
  }

  /** The steps of the newest state that does not rest on its word alone; undefined if all states qualify. */
  trustedSteps(instance: string): number | undefined {
    const record = this.#records.get(instance);
    return record ? record.trustedSteps : this.#forgottenSteps;
  }

  /**
   * Notes whose word the last round rests on: its result is part of the run by now, unless
   * the run was rolled back.
   */
  recordRound({ plan, audit }: LastRound, next: RoundPlan): void {
    // A checkpoint of the state that was evaluated may hold what the evaluation resulted in.
    const trustedSteps = plan.kind === 'train' ? plan.step : plan.step - 1;
    for (const instance of audit.soleWitnesses()) {
      const record = this.#of(instance);
      record.trustedSteps = Math.min(record.trustedSteps ?? trustedSteps, trustedSteps);
    }
    if (wasRolledBack(plan, next)) this.#rollBack(next.step);
  }

  /** Forgets who contributed to steps after `steps`: they have been rolled back. */
  #rollBack(steps: number): void {
    for (const record of this.#records.values()) {
      if (record.trustedSteps !== undefined && record.trustedSteps >= steps) record.trustedSteps = undefined;
    }
    if (this.#forgottenSteps !== undefined && this.#forgottenSteps >= steps) this.#forgottenSteps = undefined;
  }

  #of(instance: string): TrackRecord {
    const record = this.#records.get(instance) ?? {
      numFailedInRow: 0,
      trustedSteps: this.trustedSteps(instance),
    };
    this.#records.delete(instance);
    this.#records.set(instance, record);
    if (this.#records.size > MAX_PROCESSES) this.#forgetOldest();
    return record;
  }

  #forgetOldest(): void {
    const [instance, { trustedSteps }] = this.#records.entries().next().value as [string, TrackRecord];
    this.#records.delete(instance);
    if (trustedSteps === undefined) return;
    this.#forgottenSteps = Math.min(this.#forgottenSteps ?? trustedSteps, trustedSteps);
  }
}

/**
 * Tells whether the run was rolled back between two rounds: steps ascend, and
 * evaluations stand between them.
 */
function wasRolledBack(last: RoundPlan, next: RoundPlan): boolean {
  return next.step < last.step || (next.step === last.step && last.kind === 'train' && next.kind === 'train');
}
