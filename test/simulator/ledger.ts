// The values that a simulated coordinator holds: the weights, the next ones as far as they are known, and
// the sums of the round under way in their slots. A slot that is not there when it is needed, or is still
// there at the end, is a bug.
import type { RoundPlan, SumName } from '../../coordinator/scheduler/outcome.ts';
import { nodeKey } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import { add, combine, nextWeights, sumUnder } from './symbols.ts';
import type { Value, Work } from './symbols.ts';
import { isEvaluation } from './training.ts';
import type { Progress, Training } from './training.ts';

/** The round under way. */
interface ActiveRound {
  readonly work: Work;
  readonly plan: RoundPlan;
  number: number;
  /** Sums of buckets, or values of shards. */
  results: (Value | undefined)[];
  readonly slots: Map<number, { readonly bucket: number; readonly value: Value }>;
  readonly judged: Set<string>;
}

/** Weights of one bucket, and their version. */
export interface WeightsBucket {
  readonly version: number;
  readonly bucket: number;
  readonly value: Value;
}

/** The values of one simulated coordinator. */
export class Ledger {
  readonly #training: Training;
  readonly #complain: (what: string) => void;
  #step: number;
  #version = 0;
  #weights: readonly Value[];
  #next: (Value | undefined)[] = [];
  #chain: Value[];
  #active: ActiveRound | undefined;

  constructor(training: Training, from: Progress, complain: (what: string) => void) {
    this.#training = training;
    this.#complain = complain;
    this.#step = from.step;
    this.#weights = from.weights;
    this.#chain = [...from.chain];
  }

  /** Steps taken. */
  get step(): number {
    return this.#step;
  }

  get version(): number {
    return this.#version;
  }

  /** Version of the current weights. */
  get weights(): Value {
    return combine(this.#weights);
  }

  /** The current round, if one has been planned. */
  get active(): Readonly<ActiveRound> | undefined {
    return this.#active;
  }

  get isFinished(): boolean {
    const { numEpochs, stepsPerEpoch } = this.#training;
    return this.#chain.length === numEpochs * (stepsPerEpoch + 1);
  }

  get progress(): Progress {
    return { step: this.#step, weights: [...this.#weights], chain: [...this.#chain] };
  }

  /** The current weights. */
  buckets(): WeightsBucket[] {
    return this.#weights.map((value, bucket) => ({ version: this.#version, bucket, value }));
  }

  /** Plans the next round: a step, or the evaluation after an epoch. */
  plan(): RoundPlan {
    if (this.#active) this.#complain('a round was wanted while another one is under way');
    const { training, step } = { training: this.#training, step: this.#step };
    const isSum = !isEvaluation(training, this.#chain.length);
    const shardRows = isSum
      ? (training.shardRows[step % training.stepsPerEpoch] as readonly number[])
      : training.evaluationRows;
    const plan: RoundPlan = {
      kind: isSum ? 'train' : 'evaluate',
      numBuckets: isSum ? training.numBuckets : 1,
      shardRows,
      step,
    };
    const kind = isSum ? 'train' : 'evaluate';
    const key = { weights: this.weights, numShards: shardRows.length, divergesAt: training.divergesAt };
    const work: Work = { kind, step, ...key };
    const empty = { number: 0, results: [], slots: new Map(), judged: new Set<string>() };
    this.#active = { work, plan, ...empty };
    return plan;
  }

  /** The round begins or restarts. */
  begin(number: number): void {
    const active = this.#active as ActiveRound;
    active.number = number;
    active.results = [];
    active.slots.clear();
    active.judged.clear();
    this.#next = [];
  }

  /** Number of sums of the bucket that has the most in memory. */
  get mostSums(): number {
    const counts = new Map<number, number>();
    for (const { bucket } of this.#active?.slots.values() ?? [])
      counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
    return Math.max(0, ...counts.values());
  }

  store({ node, bucket }: SumName, slot: number, value: Value): void {
    const { plan, slots, results } = this.#active as ActiveRound;
    if (plan.kind === 'train') slots.set(slot, { bucket, value });
    else results[node.level === 0 ? node.index : plan.shardRows.length - 1] = value;
  }

  free(slot: number): void {
    this.#active?.slots.delete(slot);
  }

  /** left += right. */
  merge(left: number, right: number): void {
    const { slots } = this.#active as ActiveRound;
    const [a, b] = [slots.get(left), slots.get(right)];
    if (a === undefined || b === undefined) return this.#complain('added a sum that is not there');
    slots.set(left, { ...a, value: add(a.value, b.value) });
    slots.delete(right);
  }

  /** The next weights of a bucket; undefined if its gradient is not finite. */
  completeBucket(bucket: number, slot: number): WeightsBucket | undefined {
    const active = this.#active as ActiveRound;
    const sum = active.slots.get(slot)?.value;
    if (sum === undefined) this.#complain('completed a sum that is not there');
    if (active.results[bucket] !== undefined) this.#complain('completed a bucket twice');
    if (sum === undefined || Number.isNaN(sum)) return undefined;
    active.results[bucket] = sum;
    const value = nextWeights(this.#weights[bucket] as Value, sum);
    this.#next[bucket] = value;
    return { version: this.#version + 1, bucket, value };
  }

  /** Ends the round; returns its kind. */
  completeRound(): RoundPlan['kind'] {
    const { plan, results, slots } = this.#active as ActiveRound;
    const { kind, shardRows, numBuckets } = plan;
    const numResults = kind === 'train' ? numBuckets : shardRows.length;
    const all = Array.from({ length: numResults }, (_, index) => results[index]);
    if (all.includes(undefined)) this.#complain('completed a round that is not whole');
    if (kind === 'train' && slots.size !== numBuckets) {
      this.#complain(`completed a round with ${slots.size} sums in memory for ${numBuckets} buckets`);
    }
    this.#chain.push(combine(all as Value[]));
    this.#active = undefined;
    if (kind === 'train') this.#commit();
    return kind;
  }

  #commit(): void {
    this.#weights = this.#next as Value[];
    this.#next = [];
    this.#version++;
    this.#step++;
  }

  /** Returns to the weights and results of an earlier step, as a new version. */
  goBack({ step, weights, chain }: Progress): void {
    this.#step = step;
    this.#weights = weights;
    this.#chain = [...chain];
    this.#next = [];
    this.#active = undefined;
    this.#version++;
  }

  /** Notes that a node is to be judged: once is enough. */
  doubt(node: TreeNode): void {
    const { judged } = this.#active as ActiveRound;
    if (judged.has(nodeKey(node))) this.#complain('a node is judged twice');
    judged.add(nodeKey(node));
  }

  /** The values of a node that the coordinator computes itself, by bucket. */
  truth(node: TreeNode): Value[] {
    const { plan, work } = this.#active as ActiveRound;
    return Array.from({ length: plan.numBuckets }, (_, bucket) => sumUnder(work, node, bucket));
  }
}
