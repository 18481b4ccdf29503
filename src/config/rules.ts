// Rules that tie the config's loss, model and target together. Those of the data section stand in data-rules.ts.
import { dataKind, NUM_BYTE_VALUES } from './data-kind.ts';
import { checkData, targetColumns } from './data-rules.ts';
import { type ConfigFinding, findAt } from './problem.ts';
import type { Config } from './schema.ts';

/** Everything that is wrong with a config whose fields are each right. */
export function checkRules(config: Config): ConfigFinding[] {
  return [...checkData(config.data), ...checkLoss(config), ...checkLastLayer(config)];
}

function checkLoss(config: Config): ConfigFinding[] {
  if (dataKind(config.data) === 'text') return checkTextLoss(config);
  switch (config.loss.kind) {
    case 'crossEntropy':
      return checkCrossEntropy(config);
    case 'binaryCrossEntropy':
      return checkBinaryCrossEntropy(config);
    default:
      return checkValueLoss(config);
  }
}

/** The bytes of a text are classes, all of them alike. */
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

/** Of mse, mae and huber. */
function checkValueLoss(config: Config): ConfigFinding[] {
  const { loss, data } = config;
  const findings = refuseGiven(config, [...CLASS_FIELDS, 'classWeights']);
  if (dataKind(data) === 'images') {
    const text = `"${loss.kind}" needs numbers to predict, images have class labels`;
    findings.unshift(findAt(['loss'], text, 'use crossEntropy'));
  }
  return findings;
}

function checkBinaryCrossEntropy(config: Config): ConfigFinding[] {
  const findings = refuseGiven(config, [...CLASS_FIELDS, ...VALUE_FIELDS]);
  if (config.classWeights !== undefined && targetColumns(config.data).length > 1) {
    findings.push(findAt(['classWeights'], 'takes one target column of two classes', 'name one column'));
  }
  return findings;
}

function checkCrossEntropy(config: Config): ConfigFinding[] {
  const { loss, data, classWeights } = config;
  const findings = refuseGiven(config, VALUE_FIELDS);
  if (targetColumns(data).length > 1) {
    const help = 'name one column, or use mse';
    findings.push(findAt(['data', 'target'], 'crossEntropy takes one column of class labels', help));
  }
  // A smoothed label has a share of every class, each with a weight of its own: no single weight of the row stands for it.
  if (classWeights !== undefined && loss.kind === 'crossEntropy' && loss.labelSmoothing > 0) {
    const text = 'does not go with classWeights, which weigh a row by its one class';
    findings.push(findAt(['loss', 'labelSmoothing'], text, 'remove one of them'));
  }
  return findings;
}

const CLASS_FIELDS = ['data.classes', 'data.ignoreIndex', 'metrics.topK'];
const VALUE_FIELDS = ['data.targetUnit', 'data.targetTransform'];
const GOES_WITH: Readonly<Record<string, string>> = {
  'data.classes': 'crossEntropy',
  'data.ignoreIndex': 'crossEntropy',
  'metrics.topK': 'crossEntropy',
  'data.targetUnit': 'mse, mae or huber',
  'data.targetTransform': 'mse, mae or huber',
  classWeights: 'crossEntropy or binaryCrossEntropy',
};

/** Fields that would do nothing, in silence. */
function refuseGiven({ data, metrics, classWeights }: Config, fields: readonly string[]): ConfigFinding[] {
  const given: Readonly<Record<string, boolean>> = {
    'data.classes': data.classes !== undefined,
    'data.ignoreIndex': data.ignoreIndex !== undefined,
    'metrics.topK': metrics.topK !== undefined,
    'data.targetUnit': data.targetUnit !== undefined,
    'data.targetTransform': data.targetTransform.length > 0,
    classWeights: classWeights !== undefined,
  };
  return fields
    .filter((field) => given[field])
    .map((field) => findAt(field.split('.'), `only goes with loss ${GOES_WITH[field]}`, 'remove it'));
}

function checkLastLayer({ loss, data, model }: Config): ConfigFinding[] {
  const last = model.layers.length - 1;
  const layer = model.layers[last];
  if (layer?.kind !== 'dense') return [];
  const path = ['model', 'layers', last];
  const { units, activation } = layer;
  const findings: ConfigFinding[] = [];
  if (loss.kind === 'crossEntropy') {
    const classes = dataKind(data) === 'text' ? NUM_BYTE_VALUES : data.classes;
    if (classes !== undefined && units !== classes) {
      const needed =
        data.classes === undefined ? `a byte has ${classes} values` : `data.classes is ${classes}`;
      const text = `the last layer has ${count(units, 'unit')}, ${needed}`;
      findings.push(findAt([...path, 'units'], text, `set units to ${classes}`));
    } else if (units < 2) {
      findings.push(findAt([...path, 'units'], 'crossEntropy needs one unit per class, at least 2'));
    }
  } else {
    const isImages = dataKind(data) === 'images';
    const numColumns = isImages ? 1 : targetColumns(data).length;
    const needed = isImages ? 'images have one label' : `data.target has ${count(numColumns, 'column')}`;
    if (numColumns > 0 && units !== numColumns) {
      const text = `the last layer has ${count(units, 'unit')}, ${needed}`;
      findings.push(findAt([...path, 'units'], text, `set units to ${numColumns}`));
    }
  }
  const inner = { crossEntropy: 'softmax', binaryCrossEntropy: 'the sigmoid' }[loss.kind as string];
  if (inner !== undefined && activation !== 'linear') {
    const text = `${loss.kind} takes the last layer's outputs as they are, not through ${activation}`;
    findings.push(findAt([...path, 'activation'], text, `set it to linear; ${inner} is part of the loss`));
  }
  return findings;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
