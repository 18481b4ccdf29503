// The one binary tree along which sums combine, whoever computed them and whenever they arrive.
//
//   leaves 0..n-1; node (level, i) = node (level-1, 2i) + node (level-1, 2i+1); a missing right side
//   leaves the left as it is. For n = 5:
//
//        level 3            (3,0)
//        level 2      (2,0)        (2,1) = leaf 4, lifted
//        level 1   (1,0)  (1,1)
//        level 0   0   1  2   3    4
//
// A node whose right sibling is missing is the same sum as its parent, so each sum is named by the highest
// node that it equals ("lifted"): then every node but the root has a sibling to wait for.

/** A node of the tree; level 0 holds the leaves. */
export interface TreeNode {
  readonly level: number;
  readonly index: number;
}

/** The leaves [from, to) under a node of a tree with `numLeaves` leaves. */
export function leavesUnder(node: TreeNode, numLeaves: number): { from: number; to: number } {
  const width = 2 ** node.level;
  return { from: node.index * width, to: Math.min((node.index + 1) * width, numLeaves) };
}

/** The level of the root. */
export function heightOf(numLeaves: number): number {
  let level = 0;
  while (2 ** level < numLeaves) level++;
  return level;
}

/** True for a node that holds the sum of all leaves. */
export function isRoot(node: TreeNode, numLeaves: number): boolean {
  return node.index === 0 && 2 ** node.level >= numLeaves;
}

/** True for the highest name of an existing sum: what a message may carry. */
export function isLifted(node: TreeNode, numLeaves: number): boolean {
  if (leavesUnder(node, numLeaves).from >= numLeaves) return false;
  if (isRoot(node, numLeaves)) return node.level === 0 || 2 ** (node.level - 1) < numLeaves;
  return hasSibling(node, numLeaves);
}

/** The highest node equal to this one. */
export function lift(node: TreeNode, numLeaves: number): TreeNode {
  let lifted = node;
  while (!isRoot(lifted, numLeaves) && !hasSibling(lifted, numLeaves)) lifted = parentOf(lifted);
  return lifted;
}

/** The fewest nodes that cover the leaves [from, to), in order, lifted. */
export function maximalNodes(from: number, to: number, numLeaves: number): TreeNode[] {
  const nodes: TreeNode[] = [];
  let start = from;
  while (start < to) {
    let node = lift({ level: 0, index: start }, numLeaves);
    for (;;) {
      const parent = lift(parentOf(node), numLeaves);
      const leaves = leavesUnder(parent, numLeaves);
      if (isRoot(node, numLeaves) || leaves.from !== start || leaves.to > to) break;
      node = parent;
    }
    nodes.push(node);
    start = leavesUnder(node, numLeaves).to;
  }
  return nodes;
}

function parentOf(node: TreeNode): TreeNode {
  return { level: node.level + 1, index: Math.floor(node.index / 2) };
}

function hasSibling(node: TreeNode, numLeaves: number): boolean {
  return node.index % 2 === 1 || (node.index + 1) * 2 ** node.level < numLeaves;
}

/** One addition to make: the values under `right` are added to those under `left`. */
export interface Merge<Slot> {
  readonly left: Slot;
  readonly right: Slot;
}

/** What became of a node offered to a `ReductionTree`. */
export interface Added<Slot> {
  /** The node that now holds the offered sum, after merging. */
  readonly node: TreeNode;
  /** Where it is held: the leftmost slot of the merged ones. */
  readonly slot: Slot;
  /** Additions to make, in order. */
  readonly merges: readonly Merge<Slot>[];
  /** Slots of partial sums that the offered node made superfluous. */
  readonly dropped: readonly Slot[];
}

interface Held<Slot> {
  readonly node: TreeNode;
  readonly slot: Slot;
}

/**
 * The bookkeeping of one reduction: which sums are held in which slot, and which additions a new one
 * makes possible. It never touches a value.
 */
export class ReductionTree<Slot> {
  readonly numLeaves: number;
  #held: Held<Slot>[] = [];

  constructor(numLeaves: number) {
    this.numLeaves = numLeaves;
  }

  /** True when every leaf is in one sum. */
  get isComplete(): boolean {
    const [first] = this.#held;
    return first !== undefined && isRoot(first.node, this.numLeaves);
  }

  /** The slot of the only sum once `isComplete`, else undefined. */
  get root(): Slot | undefined {
    return this.isComplete ? this.#held[0]?.slot : undefined;
  }

  /** The nodes whose sums are held, in order. */
  get nodes(): readonly TreeNode[] {
    return this.#held.map(({ node }) => node);
  }

  /** True when all leaves of the node are in held sums already: the offer is a duplicate. */
  covers(node: TreeNode): boolean {
    const { from, to } = leavesUnder(node, this.numLeaves);
    let next = from;
    for (const held of this.#held) {
      const leaves = leavesUnder(held.node, this.numLeaves);
      if (leaves.from <= next && next < leaves.to) next = leaves.to;
    }
    return next >= to;
  }

  /** The leaf ranges that no held sum contains yet, in order. */
  missing(): { from: number; to: number }[] {
    const gaps: { from: number; to: number }[] = [];
    let next = 0;
    for (const held of this.#held) {
      const { from, to } = leavesUnder(held.node, this.numLeaves);
      if (from > next) gaps.push({ from: next, to: from });
      next = to;
    }
    if (next < this.numLeaves) gaps.push({ from: next, to: this.numLeaves });
    return gaps;
  }

  /** Takes a lifted node whose value is in `slot`; undefined if `covers(node)`, and then nothing changes. */
  add(node: TreeNode, slot: Slot): Added<Slot> | undefined {
    if (this.covers(node)) return undefined;
    const { from, to } = leavesUnder(node, this.numLeaves);
    const isInside = (held: Held<Slot>): boolean => {
      const leaves = leavesUnder(held.node, this.numLeaves);
      return leaves.from >= from && leaves.to <= to;
    };
    const dropped = this.#held.filter(isInside).map((held) => held.slot);
    this.#held = this.#held.filter((held) => !isInside(held));
    const merges: Merge<Slot>[] = [];
    let current: Held<Slot> = { node, slot };
    for (let sibling = this.#takeSibling(current.node); sibling; sibling = this.#takeSibling(current.node)) {
      const [left, right] = current.node.index % 2 === 0 ? [current, sibling] : [sibling, current];
      merges.push({ left: left.slot, right: right.slot });
      current = { node: lift(parentOf(current.node), this.numLeaves), slot: left.slot };
    }
    this.#held.push(current);
    this.#held.sort(
      (a, b) => leavesUnder(a.node, this.numLeaves).from - leavesUnder(b.node, this.numLeaves).from,
    );
    return { node: current.node, slot: current.slot, merges, dropped };
  }

  #takeSibling(node: TreeNode): Held<Slot> | undefined {
    if (isRoot(node, this.numLeaves)) return undefined;
    const siblingIndex = node.index % 2 === 0 ? node.index + 1 : node.index - 1;
    const at = this.#held.findIndex(
      (held) =>
        leavesUnder(held.node, this.numLeaves).from === siblingIndex * 2 ** node.level &&
        leavesUnder(held.node, this.numLeaves).to ===
          leavesUnder({ level: node.level, index: siblingIndex }, this.numLeaves).to,
    );
    return at < 0 ? undefined : this.#held.splice(at, 1)[0];
  }
}

/** What may become of the leaves under a node. */
interface Prospect {
  /** The most sums held below the node while they are not yet one; -Infinity where they are one for good. */
  readonly apart: number;
  /** Sums held once they are one; -Infinity where they cannot become one. */
  readonly whole: number;
}

const MISSING: Prospect = { apart: 0, whole: -Infinity };
const PRESENT: Prospect = { apart: -Infinity, whole: 1 };

/**
 * The most sums that a tree of `numLeaves` may have to hold at once: the leaves for which `isPresent` are in held sums,
 * and of the lifted nodes `expected` any may come, in any order, or never. A sum that has just come is not counted.
 */
export function mostHeld(
  numLeaves: number,
  isPresent: (leaf: number) => boolean,
  expected: readonly TreeNode[],
): number {
  const names = new Set(expected.map(({ level, index }) => `${level}/${index}`));
  const prospect = (level: number, index: number): Prospect => {
    const below = level === 0 ? (isPresent(index) ? PRESENT : MISSING) : together(level - 1, 2 * index);
    return names.has(`${level}/${index}`) && below !== PRESENT ? { ...below, whole: 1 } : below;
  };
  const together = (level: number, leftIndex: number): Prospect => {
    const left = prospect(level, leftIndex);
    if ((leftIndex + 1) * 2 ** level >= numLeaves) return left;
    const right = prospect(level, leftIndex + 1);
    if (left === PRESENT && right === PRESENT) return PRESENT;
    const apart = Math.max(left.apart + Math.max(right.apart, right.whole), left.whole + right.apart);
    return { apart, whole: left.whole + right.whole === 2 ? 1 : -Infinity };
  };
  const root = prospect(heightOf(numLeaves), 0);
  return Math.max(root.apart, root.whole);
}

/** What `mostHeld` is at most: one of every two leaves. */
export function mostEverHeld(numLeaves: number): number {
  return Math.ceil(numLeaves / 2);
}

/**
 * Sums along the fixed binary tree: node (level, i) = node (level-1, 2i) + node (level-1, 2i+1), where a
 * missing right side leaves the left as it is. The sum of nothing is 0.
 */
export function treeSum(values: ArrayLike<number>): number {
  const nodes = Float64Array.from(values);
  let width = nodes.length;
  while (width > 1) {
    const pairs = width >> 1;
    for (let i = 0; i < pairs; i++) nodes[i] = nodes[2 * i]! + nodes[2 * i + 1]!;
    if (width % 2 === 1) nodes[pairs] = nodes[width - 1]!;
    width -= pairs;
  }
  return nodes[0] ?? 0;
}
