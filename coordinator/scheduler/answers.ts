// All answers of a round, side by side. Equal shards give equal bytes, so two answers to one question that differ
// prove a lie, or a broken machine; and two equal ones from different processes are what an audit asks for.
import { shardsUnder } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import { COORDINATOR } from './events.ts';

/** How much of a round is computed twice. */
export interface AuditPolicy {
  /** Share of sums, 0 to 1. */
  readonly share: number;
  /** In [0, 1). Workers must not be able to foresee it. */
  readonly random: () => number;
}

interface Answer {
  readonly worker: number;
  readonly process: string;
  readonly digest: string;
}

interface BucketRecord {
  readonly answers: Answer[];
  /** Part of the round's sum. */
  isTaken: boolean;
}

interface NodeRecord {
  readonly node: TreeNode;
  readonly isAudited: boolean;
  readonly buckets: Map<number, BucketRecord>;
  /** What the coordinator itself computed, by bucket. */
  truth: readonly string[] | undefined;
  isInDoubt: boolean;
}

/** A sum that was taken on the word of one process. */
export interface Unwitnessed {
  readonly node: TreeNode;
  /** Those who have answered already. */
  readonly processes: ReadonlySet<string>;
}

/** See the head of this file. One instance a round. */
export class Answers {
  readonly #policy: AuditPolicy;
  readonly #nodes = new Map<string, NodeRecord>();

  constructor(policy: AuditPolicy) {
    this.#policy = policy;
  }

  /** Whether the node is audited: drawn when it is first asked, which is after a worker has computed it. */
  isAudited(node: TreeNode): boolean {
    return this.#record(node).isAudited;
  }

  /** Adds an answer; returns true if it contradicts another one, or the truth. */
  add(node: TreeNode, bucket: number, answer: Answer): boolean {
    const { answers } = this.#bucket(node, bucket);
    answers.push(answer);
    const right = this.#record(node).truth?.[bucket] ?? answers[0]?.digest;
    return answer.digest !== right;
  }

  /** The bucket has become part of the round's sum. */
  take(node: TreeNode, bucket: number): void {
    this.#bucket(node, bucket).isTaken = true;
  }

  /** The node is to be judged; returns false if that is under way, or done. */
  doubt(node: TreeNode): boolean {
    const record = this.#record(node);
    if (record.isInDoubt || record.truth) return false;
    record.isInDoubt = true;
    return true;
  }

  /** The truth about a node; returns those who said something else, as `liars` does. */
  judge(node: TreeNode, truth: readonly string[]): ReadonlyMap<string, number> {
    const record = this.#record(node);
    record.truth = truth;
    record.isInDoubt = false;
    return this.liars(node);
  }

  /** Processes that contradicted the truth about a node, each with a worker that it did so as. */
  liars(node: TreeNode): ReadonlyMap<string, number> {
    const { buckets, truth } = this.#record(node);
    const wrong = [...buckets].flatMap(([bucket, { answers }]) =>
      answers.filter(({ digest }) => truth !== undefined && digest !== truth[bucket]),
    );
    return new Map(wrong.map(({ process, worker }) => [process, worker]));
  }

  /** Whether some node is being judged. */
  get isInDoubt(): boolean {
    return [...this.#nodes.values()].some((record) => record.isInDoubt);
  }

  /** Nodes that are part of the round's sum. */
  taken(): TreeNode[] {
    const isTaken = ({ buckets }: NodeRecord): boolean =>
      [...buckets.values()].some((bucket) => bucket.isTaken);
    return [...this.#nodes.values()].filter(isTaken).map(({ node }) => node);
  }

  /** Audited nodes that nobody has confirmed yet, in the order of shards. */
  unwitnessed(numShards: number): Unwitnessed[] {
    const waiting = [...this.#nodes.values()].filter((record) => !record.isInDoubt && isUnwitnessed(record));
    const start = ({ node }: NodeRecord): number => shardsUnder(node, numShards).from;
    return waiting
      .sort((a, b) => start(a) - start(b))
      .map(({ node, buckets }) => ({ node, processes: processesOf(buckets) }));
  }

  /** Processes on whose word alone some sum is part of the round's. */
  believed(): ReadonlySet<string> {
    const unjudged = [...this.#nodes.values()].filter(({ truth }) => !truth);
    return new Set(unjudged.flatMap(({ buckets }) => [...processesOf(buckets)]));
  }

  #bucket(node: TreeNode, bucket: number): BucketRecord {
    const { buckets } = this.#record(node);
    const known = buckets.get(bucket);
    if (known) return known;
    const fresh = { answers: [], isTaken: false };
    buckets.set(bucket, fresh);
    return fresh;
  }

  #record(node: TreeNode): NodeRecord {
    const name = `${node.level}/${node.index}`;
    const known = this.#nodes.get(name);
    if (known) return known;
    const isAudited = this.#policy.share > 0 && this.#policy.random() < this.#policy.share;
    const fresh = { node, isAudited, buckets: new Map(), truth: undefined, isInDoubt: false };
    this.#nodes.set(name, fresh);
    return fresh;
  }
}

function isUnwitnessed({ isAudited, truth, buckets }: NodeRecord): boolean {
  if (!isAudited || truth) return false;
  return [...buckets.values()].some(needsWitness);
}

/** Taken on the word of one process, which is not the coordinator itself. */
function needsWitness({ isTaken, answers }: BucketRecord): boolean {
  const [first, ...others] = answers;
  if (!isTaken || answers.some(({ process }) => process === COORDINATOR.process)) return false;
  return others.every(({ process }) => process === first?.process);
}

function processesOf(buckets: NodeRecord['buckets']): Set<string> {
  const waiting = [...buckets.values()].filter(needsWitness);
  return new Set(waiting.flatMap(({ answers }) => answers.map(({ process }) => process)));
}
