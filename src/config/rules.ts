// Rules between fields: those that tie loss, model and target together, and those of training. The rules
// of the data section are in data-rules.ts.
import { checkData } from './data-rules.ts';
import { dataKind, NUM_BYTE_VALUES, targetColumns } from './data-sources.ts';
import { findAt, type ConfigFinding, type KeyPath } from './problem.ts';
import type { Config } from './schema.ts';
import type { LayerSpec } from '../layers/registry.ts';
import type { LossKind } from '../losses/registry.ts';
import { areGroups, defaultGroups } from '../model/shards.ts';

/** Everything that is wrong with a config whose fields are each right. */
export function checkRules(config: Config): ConfigFinding[] {
  return [
    ...checkData(config.data),
    ...checkLoss(config),
    ...checkLastLayer(config),
    ...checkTraining(config),
    ...checkWire(config),
    ...checkTracking(config),
  ];
}

function checkLoss(config: Config): ConfigFinding[] {
  const { loss, data, classWeights } = config;
  const kind = dataKind(data);
  if (kind === 'text') return checkTextLoss(config);
  const numColumns = targetColumns(data).length;
  const findings = refuseIdleFields(config);
  if (VALUE_LOSSES.includes(loss.kind) && kind === 'images') {
    const text = `"${loss.kind}" needs numbers to predict, images have class labels`;
    findings.push(findAt(['loss'], text, 'use crossEntropy'));
  }
  if (loss.kind === 'crossEntropy' && numColumns > 1) {
    const help = 'name one column, or use mse';
    findings.push(findAt(['data', 'target'], 'crossEntropy takes one column of class labels', help));
  }
  if (loss.kind === 'binaryCrossEntropy' && numColumns > 1 && classWeights !== undefined) {
    findings.push(findAt(['classWeights'], 'takes one target column of two classes', 'name one column'));
  }
  if (loss.kind === 'binaryCrossEntropy' && numColumns > 1 && data.split.stratify) {
    findings.push(findAt(['data', 'split', 'stratify'], 'takes one target column', 'name one column'));
  }
  // A smoothed label has a share of every class, each with its own weight: no single weight of the row
  // represents it.
  if (loss.kind === 'crossEntropy' && loss.labelSmoothing > 0 && classWeights !== undefined) {
    const text = 'does not go with classWeights, which weigh a row by its one class';
    findings.push(findAt(['loss', 'labelSmoothing'], text, 'remove one of them'));
  }
  return findings;
}

/** Checks the loss of a text, whose bytes are classes of equal weight. */
function checkTextLoss({ loss, classWeights }: Config): ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  if (loss.kind !== 'crossEntropy') {
    const text = `"${loss.kind}" does not go with a text, whose bytes are classes`;
    findings.push(findAt(['loss'], text, 'use crossEntropy'));
  }
  if (classWeights !== undefined) {
    findings.push(findAt(['classWeights'], 'does not go with a text, whose bytes weigh alike', 'remove it'));
  }
  return findings;
}

const VALUE_LOSSES: readonly LossKind[] = ['mse', 'mae', 'huber'];

/** Fields that not every loss has a use for. */
const FIELDS_OF_LOSSES: readonly {
  readonly path: KeyPath;
  readonly losses: readonly LossKind[];
  readonly isGiven: (config: Config) => boolean;
}[] = [
  {
    path: ['data', 'classes'],
    losses: ['crossEntropy'],
    isGiven: ({ data }) => data.classes !== undefined,
  },
  {
    path: ['data', 'ignoreIndex'],
    losses: ['crossEntropy'],
    isGiven: ({ data }) => data.ignoreIndex !== undefined,
  },
  {
    path: ['metrics', 'topK'],
    losses: ['crossEntropy'],
    isGiven: ({ metrics }) => metrics.topK !== undefined,
  },
  {
    path: ['classWeights'],
    losses: ['crossEntropy', 'binaryCrossEntropy'],
    isGiven: ({ classWeights }) => classWeights !== undefined,
  },
  {
    path: ['data', 'split', 'stratify'],
    losses: ['crossEntropy', 'binaryCrossEntropy'],
    isGiven: ({ data }) => data.split.stratify !== undefined,
  },
  {
    path: ['data', 'targetUnit'],
    losses: VALUE_LOSSES,
    isGiven: ({ data }) => data.targetUnit !== undefined,
  },
  {
    path: ['data', 'targetTransform'],
    losses: VALUE_LOSSES,
    isGiven: ({ data }) => data.targetTransform.length > 0,
  },
];

/** Refuses fields that would silently do nothing. */
function refuseIdleFields(config: Config): ConfigFinding[] {
  return FIELDS_OF_LOSSES.filter(
    ({ losses, isGiven }) => !losses.includes(config.loss.kind) && isGiven(config),
  ).map(({ path, losses }) => {
    const last = losses[losses.length - 1];
    const list = losses.length === 1 ? last : `${losses.slice(0, -1).join(', ')} or ${last}`;
    return findAt(path, `only goes with loss ${list}`, 'remove it');
  });
}

/** Functions of the last outputs that are part of a loss. */
const INNER_FUNCTIONS: { readonly [Kind in LossKind]?: string } = {
  crossEntropy: 'softmax',
  binaryCrossEntropy: 'the sigmoid',
};

/**
 * Functions whose values are probabilities: a loss that takes logits has its own, also of sums and means
 * of them.
 */
const PROBABILITIES: readonly string[] = ['softmax', 'sigmoid'];

function checkLastLayer(config: Config): ConfigFinding[] {
  const { layers } = config.model;
  const last = layers.length - 1;
  const layer = layers[last];
  const path = ['model', 'layers'];
  const units = layer?.kind === 'dense' ? checkUnits(config, layer.units, [...path, last, 'units']) : [];
  return [...units, ...checkFunctions(config, lastFunctions(layers, path))];
}

function checkFunctions({ loss }: Config, functions: readonly LastFunction[]): ConfigFinding[] {
  const inner = INNER_FUNCTIONS[loss.kind];
  if (inner === undefined) return [];
  return functions
    .filter(({ name, isWhole }) => isWhole || PROBABILITIES.includes(name))
    .map(({ name, path }) => {
      const text = `${loss.kind} takes the last layer's outputs as they are, not through ${name}`;
      const change = path.at(-1) === 'activation' ? 'set it to linear' : 'remove the layer';
      return findAt(path, text, `${change}; ${inner} is part of the loss`);
    });
}

/** A function that is applied last to the outputs of a model. */
interface LastFunction {
  readonly name: string;
  readonly path: KeyPath;
  /** False where outputs are sums, means or maxima of its values. */
  readonly isWhole: boolean;
}

/** The functions that are applied last to the outputs, looking through layers that only pass values on. */
function lastFunctions(layers: readonly LayerSpec[], path: KeyPath): LastFunction[] {
  let isWhole = true;
  for (const [index, layer] of [...layers.entries()].toReversed()) {
    switch (layer.kind) {
      case 'flatten':
      case 'reshape':
      case 'dropout':
      case 'augment':
        continue;
      case 'maxPool2d':
      case 'avgPool2d':
      case 'globalAvgPool2d':
        isWhole = false;
        continue;
      case 'activation':
        return [{ name: layer.function, path: [...path, index, 'function'], isWhole }];
      case 'dense':
      case 'conv2d': {
        const found = { name: layer.activation, path: [...path, index, 'activation'], isWhole };
        return layer.activation === 'linear' ? [] : [found];
      }
      case 'residual':
        return (['layers', 'shortcut'] as const)
          .flatMap((branch) => lastFunctions(layer[branch] ?? [], [...path, index, branch]))
          .map((found) => ({ ...found, isWhole: false }));
      default:
        return [];
    }
  }
  return [];
}

function checkUnits(config: Config, units: number, path: KeyPath): ConfigFinding[] {
  const needed = neededUnits(config);
  if (!needed) {
    const isEnough = config.loss.kind !== 'crossEntropy' || units >= 2;
    return isEnough ? [] : [findAt(path, 'crossEntropy needs one unit per class, at least 2')];
  }
  if (units === needed.units) return [];
  const text = `the last layer has ${count(units, 'unit')}, ${needed.reason}`;
  return [findAt(path, text, `set units to ${needed.units}`)];
}

/**
 * The number of units that the classes, labels or target columns need; undefined if the config alone
 * cannot tell.
 */
function neededUnits({ loss, data }: Config): { units: number; reason: string } | undefined {
  const kind = dataKind(data);
  if (kind === 'text') return { units: NUM_BYTE_VALUES, reason: `a byte has ${NUM_BYTE_VALUES} values` };
  if (loss.kind === 'crossEntropy') {
    if (data.classes === undefined) return undefined;
    return { units: data.classes, reason: `data.classes is ${data.classes}` };
  }
  if (loss.kind === 'binaryCrossEntropy' && kind === 'images') {
    return { units: 1, reason: 'images have one label' };
  }
  const units = targetColumns(data).length;
  return units === 0 ? undefined : { units, reason: `data.target has ${count(units, 'column')}` };
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** Everything that is wrong between the fields of training. */
function checkTraining(config: Config): ConfigFinding[] {
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

/** Refuses fields that depend on validation metrics where there are none. */
function checkValidation({ data, earlyStopping, schedule }: Config): ConfigFinding[] {
  if (data.validation !== undefined || data.split.validation > 0) return [];
  const help = 'give data.validation, or data.split.validation above 0';
  const findings: ConfigFinding[] = [];
  if (schedule.kind === 'plateau') {
    findings.push(
      findAt(
        ['schedule'],
        'kind "plateau" needs the validation loss, but there are no validation rows',
        help,
      ),
    );
  }
  if (earlyStopping) {
    findings.push(
      findAt(['earlyStopping'], 'needs a validation metric, but there are no validation rows', help),
    );
  }
  return findings;
}

/** A config is copied to where others read it: the report, the dashboard, the trackers. */
function checkTracking({ tracking: { mlflow } }: Config): ConfigFinding[] {
  const uri = mlflow?.uri ?? '';
  if (!URL.canParse(uri)) return [];
  const { username, password } = new URL(uri);
  if (username === '' && password === '') return [];
  const help = 'set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD';
  return [
    findAt(['tracking', 'mlflow', 'uri'], 'has a name or password, which a config shows to others', help),
  ];
}

function checkWire({ wire: { gradients, groups }, shards }: Config): ConfigFinding[] {
  const path = ['wire', 'groups'];
  if (groups === undefined) return [];
  if (gradients === 'f32') return [findAt(path, 'only goes with wire.gradients: bf16', 'remove it')];
  if (areGroups(groups, shards)) return [];
  const help = `use ${defaultGroups(shards)}, or another of 1, 2, 4, 8 and so on`;
  return [findAt(path, `must be a power of two, and at most the ${shards} shards`, help)];
}
