// Checks that apply to every coordinator: kernels check neither addresses nor labels, so a dataset, a model
// or a task that do not fit each other must not reach them.
import { isSequence } from '../src/engine/samples.ts';
import type { EnginePlan } from '../src/engine/plan.ts';
import { targetView } from '../src/data/dataset/packed-dataset.ts';
import type { RowLayout } from '../src/data/dataset/packed-dataset.ts';
import { formatShape } from '../src/shape.ts';
import type { Model } from '../src/model/model.ts';
import { areGroups } from '../src/model/shards.ts';
import { MAX_BODY_BYTES } from '../src/protocol/limits.ts';
import type { EvaluateMessage, TrainMessage, WelcomeMessage } from '../src/protocol/message-types.ts';
import { CLOSE, ProtocolError } from '../src/protocol/protocol-error.ts';
import type { SharedTaskSizes } from '../src/threads/shared-task.ts';

/** The facts of the run that a worker has joined. */
export interface RunBounds {
  readonly welcome: WelcomeMessage;
  readonly plan: EnginePlan;
  readonly sizes: Pick<SharedTaskSizes, 'evaluationWidth' | 'maxEvaluatedRows'>;
}

/**
 * @throws ProtocolError unless the model gives what the loss needs for the targets of the dataset, and
 * batches can be cut into the groups.
 */
export function requireAgreement({ groups, shards, loss, layout }: WelcomeMessage, model: Model): void {
  if (groups !== undefined && !areGroups(groups, shards)) {
    throw refused(`welcome: ${groups} groups of ${shards} shards`);
  }
  const { targetKind, targetWidth, numClasses } = layout;
  const isLabels = targetKind === 'labels';
  if (isLabels !== (loss.kind === 'crossEntropy')) {
    throw refused(`welcome: ${loss.kind} does not go with targets that are ${targetKind}`);
  }
  const needed = isSequence(layout) ? [targetWidth, numClasses] : [numClasses];
  const fits = isLabels
    ? formatShape(model.outputShape) === formatShape(needed)
    : model.outputWidth === targetWidth;
  if (fits) return;
  const wanted = isLabels ? formatShape(needed) : String(targetWidth);
  throw refused(`welcome: the model gives ${formatShape(model.outputShape)}, the targets want ${wanted}`);
}

/** @throws ProtocolError if the dataset holds a label of no class. */
export function requireLabels(layout: RowLayout, blob: Uint8Array): void {
  if (layout.targetKind !== 'labels') return;
  const { numClasses, targetWidth } = layout;
  const labels = targetView({ layout, blob });
  const bad = labels.findIndex((label) => label >= numClasses);
  if (bad < 0) return;
  const row = Math.floor(bad / targetWidth);
  throw refused(`the dataset has label ${labels[bad]} in row ${row}, and ${numClasses} classes`);
}

/**
 * @throws ProtocolError if the task is not of this run, or has more or other rows than
 * the run was planned for.
 */
export function requireTask(
  { welcome, plan, sizes }: RunBounds,
  message: TrainMessage | EvaluateMessage,
  indices: Uint32Array,
): void {
  const { type, run, numShards } = message;
  const { batchSize, layout, shards } = welcome;
  if (run !== welcome.run) throw refused(`"${type}" is of another run`);
  const bad = indices.find((index) => index >= layout.numRows);
  if (bad !== undefined) throw refused(`"${type}" names row ${bad}, the dataset has ${layout.numRows}`);
  if (type === 'evaluate') {
    const rows = rowsOfLargestShard(message);
    // Each shard is answered by one message.
    if (4 * rows * sizes.evaluationWidth > MAX_BODY_BYTES) {
      throw refused(`"evaluate" has a shard of ${rows} rows, whose outputs no message holds`);
    }
    if (rows <= sizes.maxEvaluatedRows) return;
    throw refused(`"evaluate" has a shard of ${rows} rows, the most here are ${sizes.maxEvaluatedRows}`);
  }
  if (numShards > shards) throw refused(`"train" has ${numShards} shards, "welcome" said ${shards}`);
  if (indices.length > batchSize) {
    throw refused(`"train" has ${indices.length} rows, "welcome" said batches of ${batchSize}`);
  }
  const rows = rowsOfLargestMicrobatch(plan, message);
  if (rows > plan.maxRows) {
    throw refused(`"train" has ${rows} rows in shards that were planned to have ${plan.maxRows}`);
  }
}

function rowsOfLargestShard({ bounds }: EvaluateMessage): number {
  return bounds.reduce((most, end, shard) => Math.max(most, end - (bounds[shard - 1] ?? 0)), 0);
}

/** The rows of the largest microbatch: a subtree of at most `plan.maxShards` shards. */
function rowsOfLargestMicrobatch({ maxShards }: EnginePlan, { firstShard, bounds }: TrainMessage): number {
  const endShard = firstShard + bounds.length - 1;
  let most = 0;
  for (let start = firstShard; start < endShard;) {
    const end = Math.min((Math.floor(start / maxShards) + 1) * maxShards, endShard);
    most = Math.max(most, (bounds[end - firstShard] as number) - (bounds[start - firstShard] as number));
    start = end;
  }
  return most;
}

function refused(message: string): ProtocolError {
  return new ProtocolError('E_MESSAGE_FIELD', message, CLOSE.protocol);
}
