// The reduction tree against its definition: names of nodes, covers of ranges, and the bookkeeping of a
// reduction whose parts come in any order.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ReductionTree,
  isLifted,
  isRoot,
  leavesUnder,
  lift,
  maximalNodes,
  mostEverHeld,
  mostHeld,
  treeSum,
} from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import { combineAlongTree } from '../helpers/twins/tree.ts';

/** Every node that holds a leaf, lowest level first, the root's level last. */
function allNodes(numLeaves: number): TreeNode[] {
  const nodes: TreeNode[] = [];
  for (let level = 0; level === 0 || 2 ** (level - 1) < numLeaves; level++) {
    for (let index = 0; index * 2 ** level < numLeaves; index++) nodes.push({ level, index });
  }
  return nodes;
}

function nameOf({ from, to }: { from: number; to: number }): string {
  return `${from}-${to}`;
}

/** The highest node of each leaf range: the names that a sum may go by. */
function highestNodes(numLeaves: number): Map<string, TreeNode> {
  return new Map(allNodes(numLeaves).map((node) => [nameOf(leavesUnder(node, numLeaves)), node]));
}

describe('the drawing for 5 leaves', () => {
  it('names leaf 4 after its lifted node, and the root (3, 0)', () => {
    expect(lift({ level: 0, index: 4 }, 5)).toEqual({ level: 2, index: 1 });
    expect(maximalNodes(0, 5, 5)).toEqual([{ level: 3, index: 0 }]);
    expect(maximalNodes(1, 5, 5)).toEqual([
      { level: 0, index: 1 },
      { level: 1, index: 1 },
      { level: 2, index: 1 },
    ]);
    expect(leavesUnder({ level: 2, index: 1 }, 5)).toEqual({ from: 4, to: 5 });
  });
});

describe('lift', () => {
  it('gives every node the highest name of its sum, in trees of 1 to 70 leaves', () => {
    for (let numLeaves = 1; numLeaves <= 70; numLeaves++) {
      const highest = highestNodes(numLeaves);
      for (const node of allNodes(numLeaves)) {
        expect(lift(node, numLeaves)).toEqual(highest.get(nameOf(leavesUnder(node, numLeaves))));
      }
    }
  });
});

describe('isLifted', () => {
  it('is true for the highest names alone, and false for nodes outside the tree', () => {
    for (let numLeaves = 1; numLeaves <= 40; numLeaves++) {
      const lifted = new Set(
        [...highestNodes(numLeaves).values()].map(({ level, index }) => `${level},${index}`),
      );
      for (let level = 0; level < 9; level++) {
        for (let index = 0; index < 45; index++) {
          const what = `(${level}, ${index}) of ${numLeaves}`;
          expect(isLifted({ level, index }, numLeaves), what).toBe(lifted.has(`${level},${index}`));
        }
      }
    }
  });
});

describe('isRoot', () => {
  it('is true for the node over all leaves, under each of its names', () => {
    for (let numLeaves = 1; numLeaves <= 20; numLeaves++) {
      for (const node of allNodes(numLeaves)) {
        const { from, to } = leavesUnder(node, numLeaves);
        expect(isRoot(node, numLeaves)).toBe(from === 0 && to === numLeaves);
      }
    }
  });
});

describe('maximalNodes', () => {
  it('covers every range in order, with lifted nodes, and the fewest possible', () => {
    for (let numLeaves = 1; numLeaves <= 17; numLeaves++) {
      const ranges = [...highestNodes(numLeaves).values()].map((node) => leavesUnder(node, numLeaves));
      for (let from = 0; from < numLeaves; from++) {
        // fewest[to]: nodes needed for [from, to), by trying every node that ends there.
        const fewest = [0];
        for (let to = from + 1; to <= numLeaves; to++) {
          const ending = ranges.filter((range) => range.to === to && range.from >= from);
          fewest.push(Math.min(...ending.map((range) => 1 + (fewest[range.from - from] as number))));
          const nodes = maximalNodes(from, to, numLeaves);
          expect(nodes.length).toBe(fewest[to - from]);
          expect(nodes.every((node) => isLifted(node, numLeaves))).toBe(true);
          const edges = nodes.map((node) => leavesUnder(node, numLeaves));
          expect([from, ...edges.map((edge) => edge.to)]).toEqual([...edges.map((edge) => edge.from), to]);
        }
      }
    }
  });

  it('is empty for an empty range', () => {
    expect(maximalNodes(3, 3, 8)).toEqual([]);
  });
});

describe('treeSum', () => {
  it('adds along the tree, which is not from left to right', () => {
    expect(treeSum([1e16, 1, 1, 1])).toBe(1e16 + 2);
    expect([1e16, 1, 1, 1].reduce((sum, value) => sum + value, 0)).toBe(1e16);
  });

  it('equals the definition for any values', () => {
    fc.assert(
      fc.property(fc.array(fc.double(), { minLength: 1, maxLength: 70 }), (values) => {
        expect(treeSum(values)).toBe(combineAlongTree(values, (left, right) => left + right));
      }),
    );
  });

  it('of nothing is 0, and of one value that value, -0 too', () => {
    expect(treeSum([])).toBe(0);
    expect(treeSum([-0])).toBe(-0);
  });
});

// A slot that writes down what was added to it, so that the order of additions shows.
interface Slot {
  sum: string;
}

const plus = (left: string, right: string): string => `(${left}+${right})`;

function expressionOf(from: number, to: number, numLeaves: number): string {
  const node = highestNodes(numLeaves).get(`${from}-${to}`) as TreeNode;
  const leaves = Array.from({ length: 2 ** node.level }, (_, i) => `${from + i}`).slice(0, to - from);
  return combineAlongTree(leaves, plus);
}

/** Leaf by leaf what a tree should know. */
class Model {
  readonly tree: ReductionTree<Slot>;
  readonly #covered: boolean[];
  readonly #live = new Set<Slot>();

  constructor(numLeaves: number) {
    this.tree = new ReductionTree(numLeaves);
    this.#covered = Array.from({ length: numLeaves }, () => false);
  }

  get isComplete(): boolean {
    return this.#covered.every(Boolean);
  }

  /** Offers a node to the tree and checks all that can be seen of it. */
  offer(node: TreeNode): void {
    const { tree } = this;
    const { from, to } = leavesUnder(node, tree.numLeaves);
    const slot = { sum: expressionOf(from, to, tree.numLeaves) };
    const isDuplicate = this.#covered.slice(from, to).every(Boolean);
    expect(tree.covers(node)).toBe(isDuplicate);
    const added = tree.add(node, slot);
    expect(added === undefined).toBe(isDuplicate);
    if (!added) return;
    this.#live.add(slot);
    for (const dropped of added.dropped) expect(this.#live.delete(dropped)).toBe(true);
    for (const { left, right } of added.merges) {
      expect(this.#live.has(left)).toBe(true);
      expect(this.#live.delete(right)).toBe(true);
      left.sum = plus(left.sum, right.sum);
    }
    this.#covered.fill(true, from, to);
    expect(this.#live.has(added.slot)).toBe(true);
    expect(isLifted(added.node, tree.numLeaves)).toBe(true);
    const held = leavesUnder(added.node, tree.numLeaves);
    expect(added.slot.sum).toBe(expressionOf(held.from, held.to, tree.numLeaves));
    this.#check();
  }

  #check(): void {
    const { tree } = this;
    expect(tree.isComplete).toBe(this.isComplete);
    const missing = tree
      .missing()
      .flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i));
    expect(missing).toEqual([...this.#covered.keys()].filter((leaf) => !this.#covered[leaf]));
    if (!this.isComplete) {
      expect(tree.root).toBeUndefined();
      return;
    }
    expect(this.#live).toEqual(new Set([tree.root]));
  }
}

/** Orders values by random keys. */
function shuffled<T>(values: readonly T[], keys: readonly number[]): T[] {
  const pairs = values.map((value, i) => ({ value, key: keys[i % keys.length] as number }));
  return pairs.sort((a, b) => a.key - b.key).map(({ value }) => value);
}

const numLeavesAndOffers = fc.integer({ min: 1, max: 70 }).chain((numLeaves) =>
  fc.record({
    numLeaves: fc.constant(numLeaves),
    cuts: fc.uniqueArray(fc.integer({ min: 1, max: Math.max(1, numLeaves - 1) }), { maxLength: 12 }),
    // Ranges that overlap the partition: duplicates, parts of held sums, sums of held parts.
    extra: fc.array(fc.tuple(fc.nat({ max: numLeaves - 1 }), fc.integer({ min: 1, max: numLeaves })), {
      maxLength: 5,
    }),
    keys: fc.array(fc.nat(), { minLength: 1, maxLength: 60 }),
  }),
);

/** By trying: sums of `there` are held, and any of `expected` come, each set of them in one order, for the order changes nothing. */
function mostHeldByTrying(
  numLeaves: number,
  there: readonly TreeNode[],
  expected: readonly TreeNode[],
): number {
  let most = 0;
  for (let choice = 0; choice < 2 ** expected.length; choice++) {
    const tree = new ReductionTree<number>(numLeaves);
    for (const node of [...there, ...expected.filter((_, index) => (choice >> index) % 2 === 1)]) {
      tree.add(node, 0);
    }
    most = Math.max(most, tree.nodes.length);
  }
  return most;
}

describe('mostHeld', () => {
  it('is what is held at most, whichever of the expected sums have come', () => {
    const situation = fc.integer({ min: 1, max: 21 }).chain((numLeaves) => {
      const nodes = [...highestNodes(numLeaves).values()];
      return fc.record({
        numLeaves: fc.constant(numLeaves),
        there: fc.shuffledSubarray(nodes, { maxLength: Math.min(4, nodes.length) }),
        expected: fc.shuffledSubarray(nodes, { maxLength: Math.min(8, nodes.length) }),
      });
    });
    fc.assert(
      fc.property(situation, ({ numLeaves, there, expected }) => {
        const covered = there.map((node) => leavesUnder(node, numLeaves));
        const isPresent = (leaf: number): boolean =>
          covered.some(({ from, to }) => from <= leaf && leaf < to);
        expect(mostHeld(numLeaves, isPresent, expected)).toBe(mostHeldByTrying(numLeaves, there, expected));
      }),
      { numRuns: 150 },
    );
  });

  it('is one of every two leaves where each may come by itself', () => {
    for (let numLeaves = 1; numLeaves <= 40; numLeaves++) {
      const leaves = Array.from({ length: numLeaves }, (_, index) => lift({ level: 0, index }, numLeaves));
      expect(mostHeld(numLeaves, () => false, leaves)).toBe(mostEverHeld(numLeaves));
    }
  });

  it('is one for two halves, and for all leaves as one range', () => {
    expect(mostHeld(8, () => false, maximalNodes(0, 8, 8))).toBe(1);
    expect(mostHeld(8, () => false, [...maximalNodes(0, 4, 8), ...maximalNodes(4, 8, 8)])).toBe(1);
    expect(mostHeld(8, () => false, [...maximalNodes(0, 3, 8), ...maximalNodes(3, 8, 8)])).toBe(3);
  });
});

describe('ReductionTree', () => {
  it('completes exactly once, with the tree sum, for any partition, order and overlap', () => {
    fc.assert(
      fc.property(numLeavesAndOffers, ({ numLeaves, cuts, extra, keys }) => {
        const edges = [...new Set([0, ...cuts.filter((cut) => cut < numLeaves), numLeaves])].sort(
          (a, b) => a - b,
        );
        const partition = edges.slice(1).flatMap((to, i) => maximalNodes(edges[i] as number, to, numLeaves));
        const overlaps = extra.flatMap(([from, length]) =>
          maximalNodes(from, Math.min(numLeaves, from + length), numLeaves),
        );
        const model = new Model(numLeaves);
        for (const node of shuffled([...partition, ...overlaps], keys)) model.offer(node);
        expect(model.isComplete).toBe(true);
        expect(model.tree.root?.sum).toBe(expressionOf(0, numLeaves, numLeaves));
      }),
      { numRuns: 500 },
    );
  });

  it('completes from single leaves in either order, for 1 to 70 leaves', () => {
    for (let numLeaves = 1; numLeaves <= 70; numLeaves++) {
      const leaves = Array.from({ length: numLeaves }, (_, index) => lift({ level: 0, index }, numLeaves));
      for (const order of [leaves, leaves.toReversed()]) {
        const model = new Model(numLeaves);
        for (const leaf of order) model.offer(leaf);
        expect(model.tree.root?.sum).toBe(expressionOf(0, numLeaves, numLeaves));
      }
    }
  });

  it('drops the held parts of a larger sum that arrives whole', () => {
    const tree = new ReductionTree<string>(4);
    tree.add({ level: 0, index: 0 }, 'leaf 0');
    tree.add({ level: 0, index: 3 }, 'leaf 3');
    expect(tree.add({ level: 1, index: 0 }, 'leaves 0 and 1')).toEqual({
      node: { level: 1, index: 0 },
      slot: 'leaves 0 and 1',
      merges: [],
      dropped: ['leaf 0'],
    });
    expect(tree.missing()).toEqual([{ from: 2, to: 3 }]);
  });

  it('merges a chain at once, and says in which slots', () => {
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
      dropped: [],
    });
    expect(tree.root).toBe('a');
  });

  it('changes nothing for a duplicate', () => {
    const tree = new ReductionTree<string>(3);
    tree.add({ level: 1, index: 0 }, 'a');
    expect(tree.add({ level: 0, index: 1 }, 'late')).toBeUndefined();
    expect(tree.add({ level: 1, index: 0 }, 'again')).toBeUndefined();
    expect(tree.missing()).toEqual([{ from: 2, to: 3 }]);
  });
});
