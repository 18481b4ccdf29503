// Buckets are cut by size and may hold parts of several tensors; the optimizer treats tensors by their role. So each
// bucket is cut once more, into ranges whose parameters are all treated alike.
import type { ParameterTensor } from '../layers/layer.ts';

/** Parameters that are treated alike; offset and length count f32 of the flat vector. */
export interface ParameterRange {
  readonly offset: number;
  readonly length: number;
  readonly isDecayed: boolean;
  /** Statistics only: the share of the way that a step takes them to the batch's mean. Undefined for parameters that
   * gradients move. */
  readonly momentum: number | undefined;
}

/** The part of a tensor that ranges depend on. */
export type RangeTensor = Pick<ParameterTensor, 'offset' | 'length' | 'role' | 'momentum'>;

/** Cuts a slice of the flat vector; neighbours that are treated alike stay together. `tensors` are in order of offset. */
export function cutRanges(
  bucket: { readonly offset: number; readonly length: number },
  tensors: readonly RangeTensor[],
  isDecayed: (role: ParameterTensor['role']) => boolean,
): ParameterRange[] {
  const end = bucket.offset + bucket.length;
  const ranges: ParameterRange[] = [];
  for (const tensor of tensors) {
    const from = Math.max(tensor.offset, bucket.offset);
    const to = Math.min(tensor.offset + tensor.length, end);
    if (from >= to) continue;
    const isStatistic = tensor.role === 'statistic';
    const range = {
      offset: from,
      length: to - from,
      isDecayed: !isStatistic && isDecayed(tensor.role),
      momentum: isStatistic ? (tensor.momentum ?? 0) : undefined,
    };
    const last = ranges.at(-1);
    if (last && last.isDecayed === range.isDecayed && last.momentum === range.momentum) {
      ranges[ranges.length - 1] = { ...last, length: last.length + range.length };
    } else ranges.push(range);
  }
  return ranges;
}
