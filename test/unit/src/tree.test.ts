// The reduction tree against its definition: names of nodes, covers of ranges, and the bookkeeping of a
// reduction whose parts arrive in any order.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ReductionTree,
  isLifted,
  isRoot,
  shardsUnder,
  lift,
  maximalNodes,
  mostEverHeld,
  mostHeld,
  treeSum,
} from '../../../src/tree.ts';
import type { ShardRange, TreeNode } from '../../../src/tree.ts';
import { combineAlongTree } from '../../helpers/twins/tree.ts';

/** Every node that holds a shard, lowest level first, the root's level last. */
function allNodes(numShards: number): TreeNode[] {
  const nodes: TreeNode[] = [];
  for (let level = 0; level === 0 || 2 ** (level - 1) < numShards; level++) {
    for (let index = 0; index * 2 ** level < numShards; index++) nodes.push({ level, index });
  }
  return nodes;
}

function nameOf({ from, to }: { from: number; to: number }): string {
  return `${from}-${to}`;
}

/** The highest node of each shard range: the names that a sum may go by. */
function highestNodes(numShards: number): Map<string, TreeNode> {
  return new Map(allNodes(numShards).map((node) => [nameOf(shardsUnder(node, numShards)), node]));
}

describe('the drawing for 5 shards', () => {
  it('the tree of 5 shards names shard 4 after its lifted node, and has the root (3, 0)', () => {
    expect(lift({ level: 0, index: 4 }, 5)).toEqual({ level: 2, index: 1 });
    expect(maximalNodes(0, 5, 5)).toEqual([{ level: 3, index: 0 }]);
    expect(maximalNodes(1, 5, 5)).toEqual([
      { level: 0, index: 1 },
      { level: 1, index: 1 },
      { level: 2, index: 1 },
    ]);
    expect(shardsUnder({ level: 2, index: 1 }, 5)).toEqual({ from: 4, to: 5 });
  });
});

describe('lift', () => {
  it('lift gives every node the highest name of its sum, in trees of 1 to 70 shards', () => {
    for (let numShards = 1; numShards <= 70; numShards++) {
      const highest = highestNodes(numShards);
      for (const node of allNodes(numShards)) {
        expect(lift(node, numShards)).toEqual(highest.get(nameOf(shardsUnder(node, numShards))));
      }
    }
  });
});

describe('isLifted', () => {
  it('isLifted is true for the highest names alone, and false for nodes outside the tree', () => {
    for (let numShards = 1; numShards <= 40; numShards++) {
      const lifted = new Set(
        [...highestNodes(numShards).values()].map(({ level, index }) => `${level},${index}`),
      );
      for (let level = 0; level < 9; level++) {
        for (let index = 0; index < 45; index++) {
          const what = `(${level}, ${index}) of ${numShards}`;
          expect(isLifted({ level, index }, numShards), what).toBe(lifted.has(`${level},${index}`));
        }
      }
    }
  });
});

describe('isRoot', () => {
  it('isRoot is true for the node over all shards, under each of its names', () => {
    for (let numShards = 1; numShards <= 20; numShards++) {
      for (const node of allNodes(numShards)) {
        const { from, to } = shardsUnder(node, numShards);
        expect(isRoot(node, numShards)).toBe(from === 0 && to === numShards);
      }
    }
  });
});

describe('maximalNodes', () => {
  it('maximalNodes covers every range in order, with as few lifted nodes as possible', () => {
    for (let numShards = 1; numShards <= 17; numShards++) {
      const ranges = [...highestNodes(numShards).values()].map((node) => shardsUnder(node, numShards));
      for (let from = 0; from < numShards; from++) {
        // fewest[to]: nodes needed for [from, to), by trying every node that ends there.
        const fewest = [0];
        for (let to = from + 1; to <= numShards; to++) {
          const ending = ranges.filter((range) => range.to === to && range.from >= from);
          fewest.push(Math.min(...ending.map((range) => 1 + (fewest[range.from - from] as number))));
          const nodes = maximalNodes(from, to, numShards);
          expect(nodes.length).toBe(fewest[to - from]);
          expect(nodes.every((node) => isLifted(node, numShards))).toBe(true);
          const edges = nodes.map((node) => shardsUnder(node, numShards));
          expect([from, ...edges.map((edge) => edge.to)]).toEqual([...edges.map((edge) => edge.from), to]);
        }
      }
    }
  });

  it('maximalNodes is empty for an empty range', () => {
    expect(maximalNodes(3, 3, 8)).toEqual([]);
  });
});

describe('treeSum', () => {
  it('treeSum adds along the tree, which is not from left to right', () => {
    expect(treeSum([1e16, 1, 1, 1])).toBe(1e16 + 2);
    expect([1e16, 1, 1, 1].reduce((sum, value) => sum + value, 0)).toBe(1e16);
  });

  it('treeSum equals the definition for any values', () => {
    fc.assert(
      fc.property(fc.array(fc.double(), { minLength: 1, maxLength: 70 }), (values) => {
        expect(treeSum(values)).toBe(combineAlongTree(values, (left, right) => left + right));
      }),
    );
  });

  it('treeSum is 0 for no values, and for one value that value, even -0', () => {
    expect(treeSum([])).toBe(0);
    expect(treeSum([-0])).toBe(-0);
  });
});

// A slot that records its additions, so that their order shows.
interface Slot {
  sum: string;
}

const plus = (left: string, right: string): string => `(${left}+${right})`;

function expressionOf(from: number, to: number, numShards: number): string {
  const node = highestNodes(numShards).get(`${from}-${to}`) as TreeNode;
  const shards = Array.from({ length: 2 ** node.level }, (_, i) => `${from + i}`).slice(0, to - from);
  return combineAlongTree(shards, plus);
}

/** A simple model of the tree, which keeps track shard by shard. */
class Model {
  readonly tree: ReductionTree<Slot>;
  readonly #shards: ShardRange;
  readonly #covered: boolean[];
  readonly #live = new Set<Slot>();

  constructor(numShards: number, shards = { from: 0, to: numShards }) {
    this.tree = new ReductionTree(numShards, shards);
    this.#shards = shards;
    this.#covered = Array.from({ length: numShards }, () => false);
  }

  get isComplete(): boolean {
    return this.#covered.slice(this.#shards.from, this.#shards.to).every(Boolean);
  }

  /** The sums that are held. */
  get sums(): string[] {
    return [...this.#live].map(({ sum }) => sum);
  }

  /** Offers a node to the tree and checks everything that can be observed of it. */
  offer(node: TreeNode): void {
    const { tree } = this;
    const { from, to } = shardsUnder(node, tree.numShards);
    const slot = { sum: expressionOf(from, to, tree.numShards) };
    const isDuplicate = this.#covered.slice(from, to).every(Boolean);
    expect(tree.covers(node)).toBe(isDuplicate);
    const added = tree.add(node, slot);
    expect(added === undefined).toBe(isDuplicate);
    if (!added) return;
    this.#live.add(slot);
    for (const freed of added.freed) expect(this.#live.delete(freed)).toBe(true);
    for (const { left, right } of added.merges) {
      expect(this.#live.has(left)).toBe(true);
      expect(this.#live.delete(right)).toBe(true);
      left.sum = plus(left.sum, right.sum);
    }
    this.#covered.fill(true, from, to);
    expect(this.#live.has(added.slot)).toBe(true);
    expect(isLifted(added.node, tree.numShards)).toBe(true);
    const held = shardsUnder(added.node, tree.numShards);
    expect(added.slot.sum).toBe(expressionOf(held.from, held.to, tree.numShards));
    this.#check();
  }

  #check(): void {
    const { tree } = this;
    expect(tree.isComplete).toBe(this.isComplete);
    const missing = tree
      .missing()
      .flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i));
    const { from, to } = this.#shards;
    const own = [...this.#covered.keys()].slice(from, to);
    expect(missing).toEqual(own.filter((shard) => !this.#covered[shard]));
  }
}

/** Orders values by random keys. */
function shuffled<T>(values: readonly T[], keys: readonly number[]): T[] {
  const pairs = values.map((value, i) => ({ value, key: keys[i % keys.length] as number }));
  return pairs.sort((a, b) => a.key - b.key).map(({ value }) => value);
}

const numShardsAndOffers = fc.integer({ min: 1, max: 70 }).chain((numShards) =>
  fc.record({
    numShards: fc.constant(numShards),
    cuts: fc.uniqueArray(fc.integer({ min: 1, max: Math.max(1, numShards - 1) }), { maxLength: 12 }),
    // Ranges that overlap the partition: duplicates, parts of held sums, sums of held parts.
    extra: fc.array(fc.tuple(fc.nat({ max: numShards - 1 }), fc.integer({ min: 1, max: numShards })), {
      maxLength: 5,
    }),
    keys: fc.array(fc.nat(), { minLength: 1, maxLength: 60 }),
  }),
);

/**
 * The most held by trial: sums of `there` are held, and any of `expected` arrive, each set of them
 * in one order, because the order changes nothing.
 */
function mostHeldByTrying(
  numShards: number,
  there: readonly TreeNode[],
  expected: readonly TreeNode[],
): number {
  let most = 0;
  for (let choice = 0; choice < 2 ** expected.length; choice++) {
    const tree = new ReductionTree<number>(numShards);
    for (const node of [...there, ...expected.filter((_, index) => (choice >> index) % 2 === 1)]) {
      tree.add(node, 0);
    }
    most = Math.max(most, tree.nodes.length);
  }
  return most;
}

describe('mostHeld', () => {
  it('mostHeld gives the most sums held at once, whichever of the expected sums have arrived', () => {
    const situation = fc.integer({ min: 1, max: 21 }).chain((numShards) => {
      const nodes = [...highestNodes(numShards).values()];
      return fc.record({
        numShards: fc.constant(numShards),
        there: fc.shuffledSubarray(nodes, { maxLength: Math.min(4, nodes.length) }),
        expected: fc.shuffledSubarray(nodes, { maxLength: Math.min(8, nodes.length) }),
      });
    });
    fc.assert(
      fc.property(situation, ({ numShards, there, expected }) => {
        const covered = there.map((node) => shardsUnder(node, numShards));
        const isPresent = (shard: number): boolean =>
          covered.some(({ from, to }) => from <= shard && shard < to);
        expect(mostHeld(numShards, isPresent, expected)).toBe(mostHeldByTrying(numShards, there, expected));
      }),
      { numRuns: 150 },
    );
  });

  it('mostHeld is one for every two shards if each shard may arrive by itself', () => {
    for (let numShards = 1; numShards <= 40; numShards++) {
      const shards = Array.from({ length: numShards }, (_, index) => lift({ level: 0, index }, numShards));
      expect(mostHeld(numShards, () => false, shards)).toBe(mostEverHeld(numShards));
    }
  });

  it('mostHeld is one for two halves, and for all shards as one range', () => {
    expect(mostHeld(8, () => false, maximalNodes(0, 8, 8))).toBe(1);
    expect(mostHeld(8, () => false, [...maximalNodes(0, 4, 8), ...maximalNodes(4, 8, 8)])).toBe(1);
    expect(mostHeld(8, () => false, [...maximalNodes(0, 3, 8), ...maximalNodes(3, 8, 8)])).toBe(3);
  });
});

describe('ReductionTree', () => {
  it('ReductionTree completes exactly once, with the tree sum, for any partition, order and overlap', () => {
    fc.assert(
      fc.property(numShardsAndOffers, ({ numShards, cuts, extra, keys }) => {
        const edges = [...new Set([0, ...cuts.filter((cut) => cut < numShards), numShards])].sort(
          (a, b) => a - b,
        );
        const partition = edges.slice(1).flatMap((to, i) => maximalNodes(edges[i] as number, to, numShards));
        const overlaps = extra.flatMap(([from, length]) =>
          maximalNodes(from, Math.min(numShards, from + length), numShards),
        );
        const model = new Model(numShards);
        for (const node of shuffled([...partition, ...overlaps], keys)) model.offer(node);
        expect(model.isComplete).toBe(true);
        expect(model.sums).toEqual([expressionOf(0, numShards, numShards)]);
      }),
      { numRuns: 500 },
    );
  });

  it('ReductionTree completes from single shards in either order, for 1 to 70 shards', () => {
    for (let numShards = 1; numShards <= 70; numShards++) {
      const shards = Array.from({ length: numShards }, (_, index) => lift({ level: 0, index }, numShards));
      for (const order of [shards, shards.toReversed()]) {
        const model = new Model(numShards);
        for (const shard of order) model.offer(shard);
        expect(model.sums).toEqual([expressionOf(0, numShards, numShards)]);
      }
    }
  });

  it('ReductionTree of some of the shards completes with the sums of their maximal nodes', () => {
    const numShards = 13;
    for (let from = 0; from < numShards; from++) {
      for (let to = from + 1; to <= numShards; to++) {
        const shards = Array.from({ length: to - from }, (_, i) =>
          lift({ level: 0, index: from + i }, numShards),
        );
        const maximal = maximalNodes(from, to, numShards).map((node) => shardsUnder(node, numShards));
        for (const order of [shards, shards.toReversed()]) {
          const model = new Model(numShards, { from, to });
          for (const shard of order) model.offer(shard);
          const sums = maximal.map((node) => expressionOf(node.from, node.to, numShards));
          expect(model.sums.sort()).toEqual(sums.sort());
        }
      }
    }
  });

  it('ReductionTree drops the held parts of a larger sum that arrives whole', () => {
    const tree = new ReductionTree<string>(4);
    tree.add({ level: 0, index: 0 }, 'shard 0');
    tree.add({ level: 0, index: 3 }, 'shard 3');
    expect(tree.add({ level: 1, index: 0 }, 'shards 0 and 1')).toEqual({
      node: { level: 1, index: 0 },
      slot: 'shards 0 and 1',
      merges: [],
      freed: ['shard 0'],
    });
    expect(tree.missing()).toEqual([{ from: 2, to: 3 }]);
  });

  it('ReductionTree merges a chain at once, and reports the slots', () => {
    const tree = new ReductionTree<string>(4);
    tree.add({ level: 1, index: 0 }, 'a');
    tree.add({ level: 0, index: 3 }, 'c');
    expect(tree.add({ level: 0, index: 2 }, 'b')).toEqual({
      node: { level: 2, index: 0 },
      slot: 'a',
      merges: [
        { left: 'b', right: 'c' },
        { left: 'a', right: 'b' },
      ],
      freed: [],
    });
    expect(tree.isComplete).toBe(true);
  });

  it('ReductionTree changes nothing for a duplicate', () => {
    const tree = new ReductionTree<string>(3);
    tree.add({ level: 1, index: 0 }, 'a');
    expect(tree.add({ level: 0, index: 1 }, 'late')).toBeUndefined();
    expect(tree.add({ level: 1, index: 0 }, 'again')).toBeUndefined();
    expect(tree.missing()).toEqual([{ from: 2, to: 3 }]);
  });
});
