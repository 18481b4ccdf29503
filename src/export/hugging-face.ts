// A trained model as a folder for the Hugging Face Hub: the two files that Lockstep reads, a module that
// loads them in PyTorch, and a model card.
import type { FittedFeature } from '../data/dataset/transforms.ts';
import {
  DESCRIPTION_FILE,
  encodeDescription,
  WEIGHTS_FILE,
  type SavedModel,
} from '../predict/model-files.ts';
import { encodeSafetensors } from '../safetensors.ts';
import { formatCount, formatMetric } from '../printable.ts';
import { formatShape } from '../shape.ts';
import { describeModel } from '../model/model.ts';
import type { RunMetrics } from '../predict/run-metrics.ts';
import { pythonModule } from './pytorch.ts';

/** The folder's files by name. */
export function huggingFaceFiles(
  saved: SavedModel,
  metrics: RunMetrics,
): ReadonlyMap<string, Uint8Array | string> {
  const { description, model, weights } = saved;
  const tensors = model.tensors.map(({ name, shape, offset, length }) => ({
    name,
    shape,
    values: weights.subarray(offset, offset + length),
  }));
  return new Map<string, Uint8Array | string>([
    [WEIGHTS_FILE, encodeSafetensors(tensors, { weightsSha256: description.weightsSha256 })],
    [DESCRIPTION_FILE, encodeDescription(description)],
    ['model.py', pythonModule(saved)],
    ['README.md', modelCard(saved, metrics)],
  ]);
}

/** Most columns that a card lists. */
const MAX_LISTED = 100;

function modelCard({ description, model }: SavedModel, metrics: RunMetrics): string {
  const { name, lockstep, weightsSha256, loss, transforms, targetNames, classNames } = description;
  const isClass = transforms.target.kind === 'labels';
  const { positions } = transforms.target;
  const where = positions === undefined ? '' : ` at each of ${formatCount(positions)} positions`;
  const outcome =
    (isClass ? `one of ${formatCount(classNames.length)} classes` : targetNames.join(', ')) + where;
  return [
    `---\nlibrary_name: lockstep\npipeline_tag: ${pipelineTag(transforms.features, isClass)}\ntags: [lockstep, pytorch]\n---`,
    `# ${cell(name)}`,
    `Predicts ${cell(outcome)}. Trained by Lockstep ${lockstep} with the loss \`${loss.kind}\`; SHA-256 of the weights: \`${weightsSha256}\`.`,
    ...(isClass && classNames.length <= MAX_LISTED ? [`Classes: ${classNames.map(cell).join(', ')}.`] : []),
    `## Input\n\n${describeInput(description.inputShape, transforms.features)}`,
    ...metricsTable(metrics),
    `## Layers\n\n${formatCount(model.numParameters)} parameters.\n\n\`\`\`\n${describeModel(model).join('\n')}\n\`\`\``,
    `## Use\n\nIn PyTorch, with the \`model.py\` of this folder, which scales inputs and outputs as training did:\n\n\`\`\`python\n${snippet(transforms.features)}\n\`\`\`\n\n\`load()\` of the same module returns the \`nn.Sequential\` with its weights. With Lockstep:\n\n\`\`\`\nlockstep predict THIS_FOLDER ${fileFor(transforms.features)}\n\`\`\``,
  ]
    .map((part) => `${part}\n`)
    .join('\n');
}

function pipelineTag([first]: readonly FittedFeature[], isClass: boolean): string {
  if (first?.kind === 'bytes') return 'text-generation';
  if (first?.kind === 'pixels') return isClass ? 'image-classification' : 'image-feature-extraction';
  return isClass ? 'tabular-classification' : 'tabular-regression';
}

function describeInput(inputShape: readonly number[], features: readonly FittedFeature[]): string {
  const columns = features.flatMap((feature) => ('column' in feature ? [feature] : []));
  if (columns.length === 0) return `${formatShape(inputShape)} ${KINDS[features[0]?.kind ?? 'array'] ?? ''}.`;
  const lines = columns
    .slice(0, MAX_LISTED)
    .map((feature) => `| ${cell(feature.column)} | ${feature.kind} | ${hasFill(feature) ? 'yes' : 'no'} |`);
  const more = columns.length > MAX_LISTED ? `\n\nand ${columns.length - MAX_LISTED} more` : '';
  return `| Column | Kind | May be missing |\n| --- | --- | --- |\n${lines.join('\n')}${more}`;
}

const KINDS: Readonly<Record<string, string>> = {
  pixels: 'pixels of an image, bytes from 0 to 255',
  bytes: 'bytes of a text',
  array: 'values',
};

function hasFill(feature: FittedFeature): boolean {
  if (feature.kind === 'categorical') return feature.categories.includes('');
  return (
    feature.kind === 'hash' || feature.kind === 'embedding' || ('fill' in feature && feature.fill !== null)
  );
}

function metricsTable(metrics: RunMetrics): string[] {
  const splits = Object.keys(metrics);
  if (splits.length === 0) return [];
  const names = [...new Set(Object.values(metrics).flatMap((values) => Object.keys(values)))];
  const lines = names.map((name) => {
    const values = splits.map((split) => metrics[split]?.[name]);
    return `| ${name} | ${values.map((value) => (value === undefined ? '' : formatMetric(value))).join(' | ')} |`;
  });
  const rule = `|${' --- |'.repeat(splits.length + 1)}`;
  return [`## Metrics\n\n| | ${splits.join(' | ')} |\n${rule}\n${lines.join('\n')}`];
}

function snippet([first]: readonly FittedFeature[]): string {
  if (first && 'column' in first)
    return 'import csv\n\nfrom model import predict\n\nwith open("new.csv") as file:\n    print(predict(list(csv.DictReader(file))))';
  return 'import numpy\n\nfrom model import predict\n\nprint(predict(numpy.load("new.npy")))';
}

function fileFor([first]: readonly FittedFeature[]): string {
  if (first && 'column' in first) return 'new.csv';
  return first?.kind === 'pixels' ? 'pictures/' : 'new.npy';
}

/** A name from the data, in a line or a table of Markdown. */
function cell(text: string): string {
  return text.replace(/[\\`*_{}[\]<>#|]/g, String.raw`\$&`).replace(/\s+/g, ' ');
}
