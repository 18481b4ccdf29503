// Moving averages: of the weights, and of the statistics that batches leave in a model.
import { loadLanes, storeLanes } from '../lanes';

/**
 * next[length] = x + share (sum / divisor - x): x goes this share of the way to a
 * mean. `next` may be `x`.
 */
export function moveTowardsMean(
  length: u32,
  x: usize,
  sum: usize,
  divisor: f32,
  share: f32,
  next: usize,
): void {
  const n = f32x4.splat(divisor);
  const s = f32x4.splat(share);
  const end = <usize>length << 2;
  let i: usize = 0;
  for (; i + 16 <= end; i += 16) moveLanes<v128>(x + i, sum + i, n, s, next + i);
  for (; i < end; i += 4) moveLanes<f32>(x + i, sum + i, n, s, next + i);
}

// @ts-ignore: decorator
@inline
function moveLanes<T>(x: usize, sum: usize, divisor: v128, share: v128, next: usize): void {
  const x0 = loadLanes<T>(x);
  const distance = f32x4.sub(f32x4.div(loadLanes<T>(sum), divisor), x0);
  storeLanes<T>(next, f32x4.add(x0, f32x4.mul(share, distance)));
}
