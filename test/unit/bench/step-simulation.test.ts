// Simulated steps against times that are added up by hand.
import { describe, expect, it } from 'vitest';
import { simulateSteps } from '../../../bench/step-simulation.ts';
import type { BucketCosts, SimulatedCluster, SimulationCosts } from '../../../bench/step-simulation.ts';
import { maximalNodes } from '../../../src/tree.ts';

const NO_COSTS: BucketCosts = {
  bytes: 0,
  sendSumMs: 0,
  receiveSumMs: 0,
  checkSumMs: 0,
  addMs: 0,
  updateMs: 0,
  encodeWeightsMs: 0,
  sendWeightsMs: 0,
  receiveWeightsMs: 0,
};

/** Costs of buckets with these values, where a shard takes 8 ms, evenly over its buckets. */
function costsOf(
  buckets: readonly Partial<BucketCosts>[],
  values: Partial<SimulationCosts> = {},
): SimulationCosts {
  const numShards = values.numShards ?? 4;
  return {
    numRows: 0,
    clipsNorm: false,
    packMs: 0,
    sendNoteMs: 0,
    receiveNoteMs: 0,
    buckets: buckets.map((bucket) => ({ ...NO_COSTS, ...bucket })),
    sumsOf: (from, to) => {
      const nodes = maximalNodes(from, to, numShards);
      const ms = (8 * (to - from)) / (nodes.length * buckets.length);
      return nodes.flatMap((node) => buckets.map((_, bucket) => ({ node, bucket, ms })));
    },
    ...values,
    numShards,
  };
}

function cluster(values: Partial<SimulatedCluster>): SimulatedCluster {
  const link = { bytesPerMs: Infinity, latencyMs: 0 };
  return { workers: 1, threads: 1, link, fanIn: undefined, cores: undefined, ...values };
}

describe('a simulated step', () => {
  it('of one worker without a network is the sum of what is on the way of its last bucket', () => {
    const costs = costsOf(
      [
        {
          sendSumMs: 1,
          receiveSumMs: 2,
          checkSumMs: 0.5,
          addMs: 100,
          updateMs: 3,
          encodeWeightsMs: 0.25,
          sendWeightsMs: 0.75,
          receiveWeightsMs: 2,
        },
      ],
      { packMs: 4, sendNoteMs: 0.125, receiveNoteMs: 0.0625 },
    );
    // A task sent and received, packing, four shards, the sum to the coordinator, the optimizer, and the
    // weights to the worker, which reads them before the task that was sent after them. Nothing is added
    // to the only sum, and the coordinator hears that the task is done while it sends weights.
    const sumMs = 1 + 2 + 0.5 + 3 + 0.25 + 0.75 + 2;
    const { stepMs } = simulateSteps(cluster({}), costs);
    expect(stepMs).toBeCloseTo(0.0625 + 4 + 32 + sumMs, 9);
  });

  it('overlaps a bucket on its way with the passes that complete the next one', () => {
    const { stepMs } = simulateSteps(cluster({}), costsOf([{ updateMs: 10 }, { updateMs: 10 }]));
    // The first bucket is complete after 16 ms and updated when the second one is, after 32.
    expect(stepMs).toBeCloseTo(42, 9);
    const slow = simulateSteps(cluster({}), costsOf([{ updateMs: 20 }, { updateMs: 10 }]));
    expect(slow.stepMs).toBeCloseTo(16 + 20 + 10, 9);
  });

  it('finishes no bucket before all are summed where the norm is clipped', () => {
    const costs = costsOf([{ updateMs: 10 }, { updateMs: 10 }], { clipsNorm: true });
    expect(simulateSteps(cluster({}), costs).stepMs).toBeCloseTo(32 + 20, 9);
  });

  it("is limited by the coordinator's link, which all workers share", () => {
    const link = { bytesPerMs: 1000, latencyMs: 3 };
    const costs = costsOf([{ bytes: 100_000 - 256 }]);
    const { stepMs, bytesDown, bytesUp, busy } = simulateSteps(cluster({ workers: 4, link }), costs);
    // 8 ms of passes, four sums of 100 ms one after the other and the latency; weights the same way down,
    // and tasks of 256 bytes, of which the last one is 0.256 ms long. Those before it pass meanwhile.
    expect(stepMs).toBeGreaterThan(8 + 400 + 3 + 400 + 3);
    expect(stepMs).toBeLessThan(8 + 400 + 3 + 400 + 3 + 5 * 0.256 + 4 * 0.256);
    expect(bytesUp).toBe(4 * 100_000 + 4 * 256);
    expect(bytesDown).toBe(4 * 100_000 + 4 * 256);
    expect(busy["the coordinator's link, up"]).toBeCloseTo(401 / stepMs, 2);
    expect(busy["an aggregator's link"]).toBe(0);
  });

  it('in a tree of four with fan-in 2 has half of the bytes at the coordinator, and one more hop', () => {
    const costs = costsOf([{ bytes: 1000, sendSumMs: 1, receiveSumMs: 2, addMs: 0.5, receiveWeightsMs: 1 }]);
    const star = simulateSteps(cluster({ workers: 4 }), costs);
    const tree = simulateSteps(cluster({ workers: 4, fanIn: 2 }), costs);
    expect(star.bytesUp).toBe(4 * (1000 + 2 * 256));
    expect(tree.bytesUp).toBe(2 * (1000 + 2 * 256));
    expect(tree.bytesDown).toBe(star.bytesDown / 2);
    // The star: a shard, a sum sent, four sums received and three additions, weights received.
    expect(star.stepMs).toBeCloseTo(8 + 1 + 4 * 2 + 3 * 0.5 + 1, 9);
    // The tree: a shard, the sum of the lower worker sent, received and added; the same for the two
    // aggregators; weights received at both levels.
    expect(tree.stepMs).toBeCloseTo(8 + 1 + 2 + 0.5 + 1 + 2 * 2 + 0.5 + 1 + 1, 9);
    expect(tree.busy["an aggregator's processor"]).toBeGreaterThan(0);
  });

  it('gives no shard to a worker that is further away than all shards take without it', () => {
    const link = { bytesPerMs: 1000, latencyMs: 0 };
    const costs = costsOf([{ bytes: 100_000 - 256 }]);
    const two = simulateSteps(cluster({ workers: 2, link }), costs);
    const tree = simulateSteps(cluster({ workers: 4, fanIn: 2, link }), costs);
    expect(tree.stepMs).toBeCloseTo(two.stepMs, 0);
  });

  it('takes as long as its threads share cores', () => {
    const costs = costsOf([{}]);
    const stepOf = (workers: number, cores: number | undefined): number =>
      simulateSteps(cluster({ workers, cores }), costs).stepMs;
    expect(stepOf(4, undefined)).toBeCloseTo(8, 9);
    expect(stepOf(4, 4)).toBeCloseTo(8, 6);
    expect(stepOf(4, 2)).toBeCloseTo(16, 6);
    expect(stepOf(4, 1)).toBeCloseTo(32, 6);
  });

  it('divides the shards of a task among the threads of a worker', () => {
    const { stepMs } = simulateSteps(cluster({ threads: 2 }), costsOf([{}], { packMs: 4 }));
    expect(stepMs).toBeCloseTo(2 + 16, 9);
  });
});
