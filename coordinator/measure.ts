// Measures the current weights on a whole split: exact losses and metrics, and what plots need.
import type { SplitIndices } from '../src/data/dataset.ts';
import { targetView } from '../src/data/dataset.ts';
import type { HostMath } from '../src/kernels/host-math.ts';
import type { LoadedData } from '../src/data/load.ts';
import { inverseTarget } from '../src/data/transforms.ts';
import { classificationMetrics, regressionMetrics } from '../src/metrics.ts';
import type { SplitMetrics } from '../src/metrics.ts';
import type { Compute } from './compute.ts';

/** A split as the model sees it. */
export interface MeasuredSplit {
  readonly metrics: SplitMetrics;
  /** For regression: a target column each, in its own units. */
  readonly columns: readonly {
    readonly name: string;
    readonly actual: Float64Array;
    readonly predicted: Float64Array;
  }[];
}

/** Runs the model over a split; undefined if the split is empty. No weight is touched. */
export async function measureSplit(
  split: keyof SplitIndices,
  { compute, data, math }: { readonly compute: Compute; readonly data: LoadedData; readonly math: HostMath },
): Promise<MeasuredSplit | undefined> {
  const indices = data.splits[split];
  if (indices.length === 0) return undefined;
  const { outputs, lossSum } = await compute.evaluate(indices);
  const targets = targetsOf(data, indices);
  if (targets instanceof Uint32Array) {
    return { metrics: classificationMetrics({ outputs, labels: targets, lossSum }), columns: [] };
  }
  const { transforms, targetNames } = data;
  const numColumns = targetNames.length;
  const isTransformed =
    transforms.target.kind === 'values' && transforms.target.columns.some(({ steps }) => steps.length > 0);
  const inverse = (column: number, value: number): number => inverseTarget(transforms, column, value, math);
  const metrics = regressionMetrics({
    predictions: outputs,
    targets,
    numColumns,
    lossSum,
    ...(isTransformed ? { inverse } : {}),
  });
  const inOwnUnits = (values: Float32Array, column: number): Float64Array =>
    Float64Array.from({ length: indices.length }, (_, row) =>
      inverse(column, values[row * numColumns + column] as number),
    );
  const columns = targetNames.map((name, column) => ({
    name,
    actual: inOwnUnits(targets, column),
    predicted: inOwnUnits(outputs, column),
  }));
  return { metrics, columns };
}

/** The rows' targets, in the order of `indices`. */
function targetsOf({ dataset }: LoadedData, indices: Uint32Array): Float32Array | Uint32Array {
  const all = targetView(dataset);
  const width = dataset.layout.targetWidth;
  if (all instanceof Uint32Array) return indices.map((index) => all[index] as number);
  const targets = new Float32Array(indices.length * width);
  indices.forEach((index, row) => targets.set(all.subarray(index * width, (index + 1) * width), row * width));
  return targets;
}
