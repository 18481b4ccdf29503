// The one binary tree along which sums combine, whoever computed them and whenever they arrive.
//
//   shards 0..n-1; node (level, i) = node (level-1, 2i) + node (level-1, 2i+1); a missing right side
//   leaves the left as it is. For n = 5:
//
//        level 3            (3,0)
//        level 2      (2,0)        (2,1) = shard 4, lifted
//        level 1   (1,0)  (1,1)
//        level 0   0   1  2   3    4
//
// A node whose right sibling is missing is the same sum as its parent, so each sum is named by the highest
// node that it equals ("lifted"): then every node but the root has a sibling to wait for.

/** A node of the tree; level 0 holds the shards. */
export interface TreeNode {
  readonly level: number;
  readonly index: number;
}

/** Neighbouring shards, or other things that are counted, [from, to). */
export interface ShardRange {
  readonly from: number;
  readonly to: number;
}

/** The share of part `part` of `numParts` in `count` things: neighbours, as even as whole things allow, and perhaps none. */
export function shareOf(count: number, part: number, numParts: number): ShardRange {
  const cut = (index: number): number => Math.floor((count * index) / numParts);
  return { from: cut(part), to: cut(part + 1) };
}

/** The name of a node, as a key of maps and sets. */
export function nodeKey({ level, index }: TreeNode): string {
  return `${level}/${index}`;
}

/** The shards under a node of a tree with `numShards` shards. */
export function shardsUnder(node: TreeNode, numShards: number): ShardRange {
  const width = 2 ** node.level;
  return { from: node.index * width, to: Math.min((node.index + 1) * width, numShards) };
}

/** The level of the root. */
export function heightOf(numShards: number): number {
  let level = 0;
  while (2 ** level < numShards) level++;
  return level;
}

/** The lowest level with at most `groups` nodes: that of the root by default. */
export function groupLevel(numShards: number, groups = 1): number {
  let level = 0;
  while (Math.ceil(numShards / 2 ** level) > groups) level++;
  return level;
}

/** True for a node that holds the sum of all shards. */
export function isRoot(node: TreeNode, numShards: number): boolean {
  return node.index === 0 && 2 ** node.level >= numShards;
}

/** True for the highest name of an existing sum: what a message may carry. */
export function isLifted(node: TreeNode, numShards: number): boolean {
  if (shardsUnder(node, numShards).from >= numShards) return false;
  if (isRoot(node, numShards)) return node.level === 0 || 2 ** (node.level - 1) < numShards;
  return hasSibling(node, numShards);
}

/** The highest node equal to this one. */
export function lift(node: TreeNode, numShards: number): TreeNode {
  let lifted = node;
  while (!isRoot(lifted, numShards) && !hasSibling(lifted, numShards)) lifted = parentOf(lifted);
  return lifted;
}

/** The fewest nodes that cover the shards [from, to), in order, lifted. */
export function maximalNodes(from: number, to: number, numShards: number): TreeNode[] {
  const nodes: TreeNode[] = [];
  let start = from;
  while (start < to) {
    let node = lift({ level: 0, index: start }, numShards);
    for (;;) {
      const parent = lift(parentOf(node), numShards);
      const shards = shardsUnder(parent, numShards);
      if (isRoot(node, numShards) || shards.from !== start || shards.to > to) break;
      node = parent;
    }
    nodes.push(node);
    start = shardsUnder(node, numShards).to;
  }
  return nodes;
}

function parentOf(node: TreeNode): TreeNode {
  return { level: node.level + 1, index: Math.floor(node.index / 2) };
}

function hasSibling(node: TreeNode, numShards: number): boolean {
  return node.index % 2 === 1 || (node.index + 1) * 2 ** node.level < numShards;
}

/** One addition to make: the values under `right` are added to those under `left`. */
export interface Merge<Slot> {
  readonly left: Slot;
  readonly right: Slot;
  /** The node whose sum results. */
  readonly node: TreeNode;
}

/** The effect of a node offered to a `ReductionTree`. */
export interface Added<Slot> {
  /** The node that now holds the offered sum, after merging. */
  readonly node: TreeNode;
  /** The slot that holds it: the leftmost of the merged ones. */
  readonly slot: Slot;
  /** Additions to make, in order. */
  readonly merges: readonly Merge<Slot>[];
  /** Slots of partial sums that the offered node made superfluous. */
  readonly freed: readonly Slot[];
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
  readonly numShards: number;
  readonly #shards: ShardRange;
  /** The nodes that hold all sums in the end, by `nodeKey`. */
  readonly #maximal: ReadonlySet<string>;
  #held: Held<Slot>[] = [];

  /** Sums the shards `shards` of a tree of `numShards`: all by default. */
  constructor(numShards: number, shards: ShardRange = { from: 0, to: numShards }) {
    this.numShards = numShards;
    this.#shards = shards;
    this.#maximal = new Set(maximalNodes(shards.from, shards.to, numShards).map(nodeKey));
  }

  /** True when every shard is in a sum that nothing more is added to. */
  get isComplete(): boolean {
    return this.#held.length === this.#maximal.size && this.#held.every(({ node }) => this.isMaximal(node));
  }

  /** The number of sums that remain in the end. */
  get numMaximal(): number {
    return this.#maximal.size;
  }

  /** True for a node whose sum is not added to any other here. */
  isMaximal(node: TreeNode): boolean {
    return this.#maximal.has(nodeKey(node));
  }

  /** The nodes whose sums are held, in order. */
  get nodes(): readonly TreeNode[] {
    return this.#held.map(({ node }) => node);
  }

  /** True when all shards of the node are in held sums already: the offer is a duplicate. */
  covers(node: TreeNode): boolean {
    const { from, to } = shardsUnder(node, this.numShards);
    let next = from;
    for (const held of this.#held) {
      const shards = shardsUnder(held.node, this.numShards);
      if (shards.from <= next && next < shards.to) next = shards.to;
    }
    return next >= to;
  }

  /** The shard ranges that no held sum contains yet, in order. */
  missing(): ShardRange[] {
    const gaps: { from: number; to: number }[] = [];
    let next = this.#shards.from;
    for (const held of this.#held) {
      const { from, to } = shardsUnder(held.node, this.numShards);
      if (from > next) gaps.push({ from: next, to: from });
      next = to;
    }
    if (next < this.#shards.to) gaps.push({ from: next, to: this.#shards.to });
    return gaps;
  }

  /** Takes a lifted node whose value is in `slot`; undefined if `covers(node)`, and then nothing changes. */
  add(node: TreeNode, slot: Slot): Added<Slot> | undefined {
    if (this.covers(node)) return undefined;
    const { from, to } = shardsUnder(node, this.numShards);
    const isInside = (held: Held<Slot>): boolean => {
      const shards = shardsUnder(held.node, this.numShards);
      return shards.from >= from && shards.to <= to;
    };
    const freed = this.#held.filter(isInside).map((held) => held.slot);
    this.#held = this.#held.filter((held) => !isInside(held));
    const merges: Merge<Slot>[] = [];
    let current: Held<Slot> = { node, slot };
    for (let sibling = this.#takeSibling(current.node); sibling; sibling = this.#takeSibling(current.node)) {
      const [left, right] = current.node.index % 2 === 0 ? [current, sibling] : [sibling, current];
      const node = lift(parentOf(current.node), this.numShards);
      merges.push({ left: left.slot, right: right.slot, node });
      current = { node, slot: left.slot };
    }
    this.#held.push(current);
    this.#held.sort(
      (a, b) => shardsUnder(a.node, this.numShards).from - shardsUnder(b.node, this.numShards).from,
    );
    return { node: current.node, slot: current.slot, merges, freed };
  }

  #takeSibling(node: TreeNode): Held<Slot> | undefined {
    if (isRoot(node, this.numShards)) return undefined;
    const siblingIndex = node.index % 2 === 0 ? node.index + 1 : node.index - 1;
    const at = this.#held.findIndex(
      (held) =>
        shardsUnder(held.node, this.numShards).from === siblingIndex * 2 ** node.level &&
        shardsUnder(held.node, this.numShards).to ===
          shardsUnder({ level: node.level, index: siblingIndex }, this.numShards).to,
    );
    return at < 0 ? undefined : this.#held.splice(at, 1)[0];
  }
}

/** The possible futures of the shards under a node. */
interface Prospect {
  /** The most sums held below the node while they are not yet one; -Infinity where they are one for good. */
  readonly apart: number;
  /** Sums held once they are one; -Infinity where they cannot become one. */
  readonly whole: number;
}

const MISSING: Prospect = { apart: 0, whole: -Infinity };
const PRESENT: Prospect = { apart: -Infinity, whole: 1 };

/**
 * The most sums that a tree of `numShards` may have to hold at once: the shards for which
 * `isPresent` are in held sums, and of the lifted nodes `expected` any may come, in any order, or
 * never. A sum that has just come is not counted.
 */
export function mostHeld(
  numShards: number,
  isPresent: (shard: number) => boolean,
  expected: readonly TreeNode[],
): number {
  const names = new Set(expected.map(nodeKey));
  const prospect = (level: number, index: number): Prospect => {
    const below = level === 0 ? (isPresent(index) ? PRESENT : MISSING) : together(level - 1, 2 * index);
    return names.has(nodeKey({ level, index })) && below !== PRESENT ? { ...below, whole: 1 } : below;
  };
  const together = (level: number, leftIndex: number): Prospect => {
    const left = prospect(level, leftIndex);
    if ((leftIndex + 1) * 2 ** level >= numShards) return left;
    const right = prospect(level, leftIndex + 1);
    if (left === PRESENT && right === PRESENT) return PRESENT;
    const apart = Math.max(left.apart + Math.max(right.apart, right.whole), left.whole + right.apart);
    return { apart, whole: left.whole + right.whole === 2 ? 1 : -Infinity };
  };
  const root = prospect(heightOf(numShards), 0);
  return Math.max(root.apart, root.whole);
}

/** The largest result of `mostHeld`: one of every two shards. */
export function mostEverHeld(numShards: number): number {
  return Math.ceil(numShards / 2);
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
