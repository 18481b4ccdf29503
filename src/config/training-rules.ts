// Rules between the fields that say how a model is trained: optimizer, schedule, early stopping.
import { type ConfigFinding, findAt } from './problem.ts';
import type { Config } from './schema.ts';

/** Everything that is wrong between the fields of training. */
export function checkTraining(config: Config): ConfigFinding[] {
  return [
    ...checkOptimizer(config),
    ...checkSchedule(config),
    ...checkWarmup(config),
    ...checkValidation(config),
  ];
}

function checkOptimizer({ optimizer }: Config): ConfigFinding[] {
  if (optimizer.kind !== 'sgd' || !optimizer.nesterov || optimizer.momentum > 0) return [];
  return [
    findAt(['optimizer', 'nesterov'], 'needs a momentum above 0', 'set optimizer.momentum, such as 0.9'),
  ];
}

function checkSchedule({ optimizer, schedule }: Config): ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  if (schedule.kind === 'step' && (schedule.every === undefined) === (schedule.milestones === undefined)) {
    findings.push(findAt(['schedule'], 'kind "step" takes either every or milestones', 'give one of them'));
  }
  if (schedule.kind === 'cosine' && schedule.period === undefined && schedule.multiplier > 1) {
    const help = 'set schedule.period, the epochs of the first one';
    findings.push(findAt(['schedule', 'multiplier'], 'needs periods that it can lengthen', help));
  }
  if ('min' in schedule && schedule.min > optimizer.learningRate) {
    const text = `${schedule.min} is above optimizer.learningRate, ${optimizer.learningRate}`;
    findings.push(findAt(['schedule', 'min'], text, 'it is where the learning rate comes down to'));
  }
  return findings;
}

function checkWarmup({ schedule: { warmup } }: Config): ConfigFinding[] {
  if (!warmup || (warmup.steps === undefined) !== (warmup.epochs === undefined)) return [];
  return [findAt(['schedule', 'warmup'], 'takes either steps or epochs', 'give one of them')];
}

/** What goes by validation metrics does nothing without any. */
function checkValidation({ data, earlyStopping, schedule }: Config): ConfigFinding[] {
  if (data.validation !== undefined || data.split.validation > 0) return [];
  const help = 'give data.validation, or data.split.validation above 0';
  const findings: ConfigFinding[] = [];
  if (schedule.kind === 'plateau') {
    findings.push(
      findAt(['schedule'], 'kind "plateau" goes by the validation loss, and there are no rows', help),
    );
  }
  if (earlyStopping) {
    findings.push(findAt(['earlyStopping'], 'goes by a validation metric, and there are no rows', help));
  }
  return findings;
}
