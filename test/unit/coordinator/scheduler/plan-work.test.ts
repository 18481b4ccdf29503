// Tasks given out while there is room for few sums: no situation that can arise is a dead end.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Audit } from '../../../../coordinator/scheduler/audit.ts';
import { Tasks } from '../../../../coordinator/scheduler/tasks.ts';
import { ShardFailures } from '../../../../coordinator/scheduler/shard-failures.ts';
import { Pace } from '../../../../coordinator/scheduler/pace.ts';
import { planWork } from '../../../../coordinator/scheduler/plan-work.ts';
import type { Work } from '../../../../coordinator/scheduler/plan-work.ts';
import { ReductionTree, isLifted, maximalNodes, mostHeld } from '../../../../src/tree.ts';
import type { TreeNode } from '../../../../src/tree.ts';

type Tree = ReductionTree<number>;

/** Every sum that a worker may send. */
function sumsOf(numShards: number): TreeNode[] {
  const nodes: TreeNode[] = [];
  for (let level = 0; 2 ** level < 2 * numShards; level++) {
    for (let index = 0; index * 2 ** level < numShards; index++) nodes.push({ level, index });
  }
  return nodes.filter((node) => isLifted(node, numShards));
}

/** The plan for idle workers while no task is in flight. */
function planFor(trees: readonly Tree[], numWorkers: number, maxSums: number, maxSumsOfTask: number): Work {
  const pace = new Pace();
  const workers = Array.from({ length: numWorkers }, (_, index) => index + 1);
  for (const worker of workers) pace.join(worker, 0);
  const { numShards } = trees[0] as Tree;
  return planWork({
    plan: { kind: 'train', numBuckets: trees.length, shardRows: Array<number>(numShards).fill(1), step: 0 },
    trees,
    audit: new Audit({ share: 0, random: () => 0 }, numShards),
    failures: new ShardFailures(),
    tasks: new Tasks(),
    pace,
    workers: new Map(workers.map((worker) => [worker, String(worker)])),
    room: { here: maxSums, ofTask: maxSumsOfTask },
    beganMs: 0,
    nowMs: 0,
  });
}

/** The most sums of any bucket that may be held at once, whichever of those expected arrive first. */
function mostOf(trees: readonly Tree[], expected: readonly TreeNode[] = []): number {
  const { numShards } = trees[0] as Tree;
  const isPresent = (shard: number): boolean => trees.every((tree) => !isMissing(tree, shard));
  return mostHeld(numShards, isPresent, [...trees.flatMap(({ nodes }) => nodes), ...expected]);
}

function isMissing(tree: Tree, shard: number): boolean {
  return tree.missing().some(({ from, to }) => from <= shard && shard < to);
}

const situation = fc.integer({ min: 1, max: 24 }).chain((numShards) => {
  const sums = fc.shuffledSubarray(sumsOf(numShards));
  return fc.record({
    numShards: fc.constant(numShards),
    /** The sums of each bucket that a lost worker sent. */
    sent: fc.array(sums, { minLength: 1, maxLength: 3 }),
    numWorkers: fc.integer({ min: 1, max: 5 }),
    maxSumsOfTask: fc.constantFrom(1, 2, Infinity),
    /** Decides which sums of the tasks arrive before their workers are lost, too. */
    luck: fc.infiniteStream(fc.boolean()),
  });
});

test('a round ends with as much room as its held sums need, whatever lost workers have sent', () => {
  const complete = fc.property(situation, ({ numShards, sent, numWorkers, maxSumsOfTask, luck }) => {
    const trees = sent.map((nodes) => {
      const tree: Tree = new ReductionTree(numShards);
      for (const node of nodes) tree.add(node, 0);
      return tree;
    });
    const maxSums = Math.max(1, mostOf(trees));
    for (let turn = 0; !trees.every((tree) => tree.isComplete); turn++) {
      const { tasks } = planFor(trees, numWorkers, maxSums, maxSumsOfTask);
      const sums = tasks.map(({ from, to }) => maximalNodes(from, to, numShards));
      expect(Math.max(...sums.map(({ length }) => length))).toBeLessThanOrEqual(maxSumsOfTask);
      const asked = sums.flat();
      expect(asked).not.toEqual([]);
      expect(mostOf(trees, asked)).toBeLessThanOrEqual(maxSums);
      for (const tree of trees) {
        for (const node of asked) if (turn > 20 || luck.next().value === true) tree.add(node, 0);
        expect(tree.nodes.length).toBeLessThanOrEqual(maxSums);
      }
    }
  });
  fc.assert(complete, { numRuns: 150 });
});
