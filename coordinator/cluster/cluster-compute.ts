// The workers of a run as one `Compute`: each step is a round, and each evaluation is several, if it is large.
import { blobByteLength, rowSource } from '../../src/data/dataset/packed-dataset.ts';
import type { PackedDataset, RowSource } from '../../src/data/dataset/packed-dataset.ts';
import { evaluationBounds } from '../../src/data/dataset/split.ts';
import { wholeTask } from '../../src/engine/engine.ts';
import { STREAMED_ROUND_BYTES } from '../../src/engine/samples.ts';
import { MAX_SHARDS } from '../../src/limits.ts';
import { treeSum } from '../../src/tree.ts';
import { evaluationShardRows } from '../training/compute.ts';
import type { Batch, Compute, ComputeActivity, Evaluation, StepResult } from '../training/compute.ts';
import type { TrainingState } from '../training/training-state.ts';
import type { Cluster } from './cluster.ts';
import { Round } from './round.ts';
import type { RoundCounters } from './round-runner.ts';

/** The parts of a run's workers. */
export interface ClusterComputeOptions {
  readonly cluster: Cluster;
  readonly state: TrainingState;
  /** Number of f32 that result from each row of an evaluation. */
  readonly evaluationWidth: number;
  readonly dataset: PackedDataset;
}

/** Computes with the workers of a cluster. */
export class ClusterCompute implements Compute {
  readonly #options: ClusterComputeOptions;

  readonly #source: RowSource | undefined;

  constructor(options: ClusterComputeOptions) {
    this.#options = options;
    this.#source = rowSource(options.dataset);
  }

  get numWorkers(): number {
    return this.#options.cluster.numWorkers;
  }

  get counters(): Readonly<RoundCounters> {
    return this.#options.cluster.counters;
  }

  activity(): ComputeActivity {
    const { workers, latestStep } = this.#options.cluster.activity;
    return { workers, threads: [], step: latestStep };
  }

  async trainStep({ bounds, indices, weight }: Batch): Promise<StepResult> {
    const { cluster, state } = this.#options;
    let sumOfLosses = Number.NaN;
    const round = new Round('train', wholeTask(indices, bounds, this.#source), {
      takeSum: ({ bucket, address, lossSum }) => {
        sumOfLosses = lossSum ?? sumOfLosses;
        return state.finishBucket(bucket, address, weight, indices.length);
      },
      takeShard: () => undefined,
      restart: () => state.abandonStep(),
    });
    await cluster.run(round);
    return { lossSum: sumOfLosses, ...state.commit() };
  }

  async evaluate(indices: Uint32Array): Promise<Evaluation> {
    const { cluster, evaluationWidth: width } = this.#options;
    const shardRows = evaluationShardRows(width);
    const outputs = new Float32Array(indices.length * width);
    const shardLosses: number[] = [];
    const roundRows = shardRows * this.#shardsOfRound(shardRows);
    for (let start = 0; start < indices.length; start += roundRows) {
      const slice = indices.subarray(start, start + roundRows);
      const rows = wholeTask(slice, evaluationBounds(slice.length, shardRows), this.#source);
      const firstShard = start / shardRows;
      const round = new Round('evaluate', rows, {
        takeSum: () => [],
        takeShard: ({ shard, lossSum, outputs: own }) => {
          shardLosses[firstShard + shard] = lossSum;
          outputs.set(own, (start + shard * shardRows) * width);
        },
        restart: () => undefined,
      });
      await cluster.run(round);
    }
    return { lossSum: treeSum(shardLosses), outputs };
  }

  /** Shards of a round of an evaluation. */
  #shardsOfRound(shardRows: number): number {
    if (!this.#source) return MAX_SHARDS;
    const { layout } = this.#options.dataset;
    const shardBytes = blobByteLength({ ...layout, numRows: shardRows });
    return Math.max(1, Math.min(MAX_SHARDS, Math.floor(STREAMED_ROUND_BYTES / shardBytes)));
  }

  weightsReplaced(): void {
    this.#options.cluster.broadcastWeights();
  }

  close(reason: string, isOver: boolean): Promise<void> {
    return this.#options.cluster.close(reason, isOver);
  }
}
