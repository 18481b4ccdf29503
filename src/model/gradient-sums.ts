// Sums of gradients: how two are added, which of them are rounded to bfloat16, and the form in which
// these travel. The sum over a group of shards, or several, is rounded as soon as it is complete,
// whoever computes it. Sums of statistics, which travel with the gradients, are never rounded.
import type { Kernels } from '../kernels/kernels.ts';
import { groupLevel } from '../tree.ts';
import type { TreeNode } from '../tree.ts';
import type { Bucket, Model } from './model.ts';

/** A slice of the flat sum of a lifted node. */
export interface SumSlice extends Bucket {
  readonly node: TreeNode;
  /** Shards of the whole tree. */
  readonly numShards: number;
}

/** A slice of which all values are rounded, or none. */
interface Part extends Bucket {
  readonly isExact: boolean;
}

/** The sums of a model's gradients. Addresses are those of slices. */
export class GradientSums {
  readonly #kernels: Kernels;
  readonly #statistics: readonly Bucket[];
  readonly #groups: number | undefined;

  /** `groups` is the most groups that a batch has; undefined where no sum is rounded. */
  constructor(kernels: Kernels, { tensors }: Pick<Model, 'tensors'>, groups: number | undefined) {
    this.#kernels = kernels;
    this.#statistics = tensors.filter(({ role }) => role === 'statistic');
    this.#groups = groups;
  }

  /** Rounds a sum that was added up by layers, if it is that of a group. */
  round(address: number, slice: SumSlice): void {
    for (const { offset, length, isExact } of this.#parts(slice)) {
      if (!isExact) this.#kernels.roundToBf16(address + 4 * (offset - slice.offset), length);
    }
  }

  /** Adds the right sum to the left one; `slice` is that of the sum which results. */
  add(left: number, right: number, slice: SumSlice): void {
    for (const { offset, length, isExact } of this.#parts(slice)) {
      const at = 4 * (offset - slice.offset);
      if (isExact) this.#kernels.addInto(left + at, right + at, length);
      else this.#kernels.addIntoBf16(left + at, right + at, length);
    }
  }

  /** Bytes of a slice that travels. */
  byteLength(slice: SumSlice): number {
    return this.#parts(slice).reduce((total, part) => total + bytesOf(part), 0);
  }

  /** Packs a sum in its place, so that its first `byteLength` bytes can travel. */
  pack(address: number, slice: SumSlice): void {
    let to = address;
    for (const part of this.#parts(slice)) {
      const from = address + 4 * (part.offset - slice.offset);
      if (!part.isExact) this.#kernels.packBf16(from, part.length, to);
      else if (from !== to) this.#kernels.copyValues(from, part.length, to);
      to += bytesOf(part);
    }
  }

  /** Unpacks a sum whose bytes lie at the end of its place: no value is written over one not read yet. */
  unpack(address: number, slice: SumSlice): void {
    let from = address + 4 * slice.length - this.byteLength(slice);
    for (const part of this.#parts(slice)) {
      const to = address + 4 * (part.offset - slice.offset);
      if (!part.isExact) this.#kernels.unpackBf16(from, part.length, to);
      else if (from !== to) this.#kernels.copyValues(from, part.length, to);
      from += bytesOf(part);
    }
  }

  #parts({ offset, length, node, numShards }: SumSlice): Part[] {
    const isRounded = this.#groups !== undefined && node.level >= groupLevel(numShards, this.#groups);
    if (!isRounded) return [{ offset, length, isExact: true }];
    const parts: Part[] = [];
    let start = offset;
    const cut = (at: number, isExact: boolean): void => {
      const end = Math.min(at, offset + length);
      if (end <= start) return;
      parts.push({ offset: start, length: end - start, isExact });
      start = end;
    };
    for (const statistic of this.#statistics) {
      cut(statistic.offset, false);
      cut(statistic.offset + statistic.length, true);
    }
    cut(offset + length, false);
    return parts;
  }
}

/** Bytes of a part that travels: whole words. */
function bytesOf({ length, isExact }: Part): number {
  return isExact ? 4 * length : 4 * Math.ceil(length / 2);
}
