// The curves of a run from its `metrics.jsonl`, which also has what was recorded before the run resumed.
import { readRecords } from '../../src/line-file.ts';
import type { Curve, CurvePoint } from './plot-specs.ts';

/** Points of a curve, at most: more are not seen, and bloat a plot. */
const MAX_POINTS = 1000;

/** The curves of a run. */
export interface RunCurves {
  /** Metrics of the validation split by epoch, except for the loss. */
  readonly metrics: readonly Curve[];
  readonly learningRate: readonly CurvePoint[];
  readonly gradientNorm: readonly CurvePoint[];
}

/** Reads all curves. @throws UnreadableFile, or the system's error */
export function readCurves(metricsPath: string): RunCurves {
  const metrics = new Map<string, CurvePoint[]>();
  let learningRate: CurvePoint[] = [];
  let gradientNorm: CurvePoint[] = [];
  for (const { _step: step, epoch, ...values } of readRecords(metricsPath)) {
    if ('lr' in values) learningRate = added(learningRate, pointOf(step, values['lr']));
    if ('gradNorm' in values) gradientNorm = added(gradientNorm, pointOf(step, values['gradNorm']));
    for (const [key, value] of Object.entries(values)) {
      const name = /^val\/(?!loss$)(.+)/.exec(key)?.[1];
      if (name === undefined) continue;
      const points = metrics.get(name) ?? [];
      points.push(pointOf(epoch, value));
      metrics.set(name, points);
    }
  }
  return {
    metrics: [...metrics].map(([name, points]) => ({ name, points: thinOut(points) })),
    learningRate: thinOut(learningRate),
    gradientNorm: thinOut(gradientNorm),
  };
}

/** The points with one more, thinned out before they fill the memory: a run may have millions of steps. */
function added(points: CurvePoint[], point: CurvePoint): CurvePoint[] {
  points.push(point);
  return points.length > 40 * MAX_POINTS ? thinOut(points, 20 * MAX_POINTS) : points;
}

/** Numbers that are not finite are texts in the file. */
function pointOf(x: unknown, y: unknown): CurvePoint {
  return { x: Number(x), y: Number(y) };
}

/** The least and the greatest point of each of equal stretches, so that no spike is lost; the last point, too. */
export function thinOut(points: readonly CurvePoint[], most = MAX_POINTS): CurvePoint[] {
  if (points.length <= most) return [...points];
  const numStretches = Math.floor((most - 1) / 2);
  const kept = Array.from({ length: numStretches }, (_, i) => {
    const from = Math.floor((i * points.length) / numStretches);
    const to = Math.floor(((i + 1) * points.length) / numStretches);
    let [least, greatest] = [from, from];
    for (let at = from; at < to; at++) {
      if (points[at]!.y < points[least]!.y) least = at;
      if (points[at]!.y > points[greatest]!.y) greatest = at;
    }
    const [first, second] = least < greatest ? [least, greatest] : [greatest, least];
    return first === second ? [points[first]!] : [points[first]!, points[second]!];
  }).flat();
  const last = points.at(-1)!;
  return kept.at(-1) === last ? kept : [...kept, last];
}
