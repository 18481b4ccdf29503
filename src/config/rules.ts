// Rules that tie the config's loss, model and target together. Those of the data section stand in data-rules.ts.
import { dataKind } from './data-kind.ts';
import { checkData, targetColumns } from './data-rules.ts';
import { type ConfigFinding, findAt } from './problem.ts';
import type { Config } from './schema.ts';

/** Everything that is wrong with a config whose fields are each right. */
export function checkRules(config: Config): ConfigFinding[] {
  return [...checkData(config.data), ...checkLoss(config), ...checkLastLayer(config)];
}

function checkLoss({ loss, data }: Config): ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  if (loss === 'mse') {
    const kind = dataKind(data);
    if (kind !== 'table') {
      const labels = kind === 'images' ? 'images have class labels' : 'the bytes of a text are classes';
      findings.push(findAt(['loss'], `"mse" needs numbers to predict, ${labels}`, 'use crossEntropy'));
    }
    if (data.classes !== undefined) {
      findings.push(findAt(['data', 'classes'], 'only goes with loss crossEntropy', 'remove it'));
    }
  } else {
    if (data.targetUnit !== undefined) {
      findings.push(findAt(['data', 'targetUnit'], 'only goes with loss mse', 'remove it'));
    }
    if (data.targetTransform.length > 0) {
      findings.push(findAt(['data', 'targetTransform'], 'only goes with loss mse', 'remove it'));
    }
    if (targetColumns(data).length > 1) {
      const help = 'name one column, or use mse';
      findings.push(findAt(['data', 'target'], 'crossEntropy takes one column of class labels', help));
    }
  }
  return findings;
}

function checkLastLayer({ loss, data, model }: Config): ConfigFinding[] {
  const last = model.layers.length - 1;
  const layer = model.layers[last];
  if (layer?.kind !== 'dense') return [];
  const path = ['model', 'layers', last];
  const { units, activation } = layer;
  const numColumns = targetColumns(data).length;
  const findings: ConfigFinding[] = [];
  if (loss === 'mse') {
    if (numColumns > 0 && units !== numColumns) {
      const text = `the last layer has ${count(units, 'unit')}, data.target has ${count(numColumns, 'column')}`;
      findings.push(findAt([...path, 'units'], text, `set units to ${numColumns}`));
    }
    return findings;
  }
  if (data.classes !== undefined && units !== data.classes) {
    const text = `the last layer has ${count(units, 'unit')}, data.classes is ${data.classes}`;
    findings.push(findAt([...path, 'units'], text, `set units to ${data.classes}`));
  } else if (units < 2) {
    findings.push(findAt([...path, 'units'], 'crossEntropy needs one unit per class, at least 2'));
  }
  if (activation !== 'linear') {
    const text = `crossEntropy takes the last layer's outputs as they are, not through ${activation}`;
    findings.push(findAt([...path, 'activation'], text, 'set it to linear; softmax is part of the loss'));
  }
  return findings;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
