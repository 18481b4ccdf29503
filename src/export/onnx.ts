// A trained model as an ONNX file: raw inputs in, predictions out, the fitted transforms included.
import { LockstepError } from '../errors.ts';
import { formatBytes } from '../memory.ts';
import type { SavedModel } from '../predict/model-files.ts';
import { OnnxGraph } from './onnx-graph.ts';
import type { TargetStep } from '../data/dataset/transforms.ts';
import { addFeatures, type InputLayout } from './onnx-features.ts';
import { addLayers } from './onnx-layers.ts';
import { sizeOf } from '../shape.ts';

/** Readers of protocol buffers take no more than 2 GiB; some of it are names and numbers of nodes. */
const MAX_CONSTANT_BYTES = 2 ** 31 - 2 ** 26;

/**
 * Encodes a model as ONNX.
 * @throws LockstepError (exit 2) where the weights do not fit a file of ONNX.
 */
export function encodeOnnx({ description, model, weights }: SavedModel, inputs: InputLayout): Uint8Array {
  const graph = new OnnxGraph();
  if (weights.byteLength > MAX_CONSTANT_BYTES) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_TOO_LARGE',
      message: `the weights take ${formatBytes(weights.byteLength)}, an ONNX file holds ${formatBytes(MAX_CONSTANT_BYTES)}`,
      help: 'export it with --format safetensors, which has no such limit',
    });
  }
  const features = addFeatures(graph, description, inputs);
  const outputs = addLayers(description.layers, model.stack, features, { graph, weights });
  addOutputs(graph, { description, model }, outputs);
  const { name, lockstep, weightsSha256, targetNames, classNames } = description;
  return graph.encode(name, `${name}, trained by Lockstep ${lockstep}`, {
    'lockstep.version': lockstep,
    'lockstep.weightsSha256': weightsSha256,
    'lockstep.targets': JSON.stringify(targetNames),
    'lockstep.classes': JSON.stringify(classNames),
  });
}

/**
 * Adds what follows from the last layer's outputs: predictions in the target's own unit, or a class; of
 * positions those of each, which are rows on the way.
 */
function addOutputs(
  graph: OnnxGraph,
  { description, model }: Pick<SavedModel, 'description' | 'model'>,
  outputs: string,
): void {
  const { transforms, loss, targetNames } = description;
  const { target } = transforms;
  const isBinary = loss.kind === 'binaryCrossEntropy';
  const { positions } = target;
  const width = sizeOf(model.outputShape) / (positions ?? 1);
  const rows =
    positions === undefined ? undefined : graph.node('Reshape', [outputs, graph.ints([-1, width])]);
  const addOutput: AddOutput = (value, { shape, ...port }) => {
    const own = positions === undefined ? shape : [positions, ...shape];
    const reshaped = rows === undefined ? value : graph.node('Reshape', [value, graph.ints([-1, ...own])]);
    graph.output(reshaped, { ...port, shape: own });
  };
  if (target.kind === 'labels') {
    const ofSample = (): string =>
      isBinary ? graph.node('Flatten', [outputs]) : lastPosition(graph, outputs, model.outputShape);
    addClasses(graph, { logits: rows ?? ofSample(), isBinary, classNames: target.classNames }, addOutput);
    graph.output(outputs, {
      name: 'logits',
      type: 'float32',
      shape: model.outputShape,
      description: 'Outputs of the last layer, at every position of a sequence.',
    });
    return;
  }
  const flat = rows ?? graph.node('Flatten', [outputs]);
  const values = isBinary ? graph.node('Sigmoid', [flat]) : flat;
  const steps = target.columns.map((column) => column.steps);
  const hasSteps = steps.some(({ length }) => length > 0);
  addOutput(hasSteps ? invert(graph, values, steps) : values, {
    name: 'predictions',
    type: hasSteps ? 'float64' : 'float32',
    shape: [target.columns.length],
    description: `${isBinary ? 'Probabilities of: ' : ''}${targetNames.join(', ')}`,
  });
}

/** Adds an output of the graph, whose value has a row for each sample or position. */
type AddOutput = (value: string, port: Parameters<OnnxGraph['output']>[1]) => void;

function lastPosition(graph: OnnxGraph, outputs: string, shape: readonly number[]): string {
  if (shape.length === 1) return outputs;
  return graph.node('Gather', [outputs, graph.int((shape[0] as number) - 1)], {
    attributes: { axis: { int: 1 } },
  });
}

function addClasses(
  graph: OnnxGraph,
  {
    logits,
    isBinary,
    classNames,
  }: { readonly logits: string; readonly isBinary: boolean; readonly classNames: readonly string[] },
  addOutput: AddOutput,
): void {
  const probabilities = isBinary
    ? graph.concat([graph.node('Neg', [logits]), logits].map((logit) => graph.node('Sigmoid', [logit])))
    : graph.node('Softmax', [logits], { attributes: { axis: { int: -1 } } });
  const index = isBinary
    ? graph.node('Squeeze', [
        graph.cast(graph.node('Greater', [logits, graph.float(0)]), 'int64'),
        graph.ints([1]),
      ])
    : graph.node('ArgMax', [logits], { attributes: { axis: { int: 1 }, keepdims: { int: 0 } } });
  addOutput(graph.node('Gather', [graph.texts(classNames), index]), {
    name: 'class',
    type: 'string',
    shape: [],
    description: 'The likeliest class.',
  });
  addOutput(probabilities, {
    name: 'probabilities',
    type: 'float32',
    shape: [classNames.length],
    description: `Probabilities of: ${classNames.join(', ')}`,
  });
}

/** Values [N, targets] in the targets' own units, f64: the steps of each target in reverse. */
function invert(graph: OnnxGraph, values: string, steps: readonly (readonly TargetStep[])[]): string {
  const all = graph.cast(values, 'float64');
  const inverted = steps.map((own, at) => {
    const column = graph.node('Gather', [all, graph.ints([at])], { attributes: { axis: { int: 1 } } });
    return own.reduceRight((value, step) => {
      if (step.kind === 'log') return graph.node('Exp', [value]);
      const scaled = graph.node('Mul', [value, graph.double(step.scale)]);
      return graph.node('Add', [scaled, graph.double(step.mean)]);
    }, column);
  });
  return graph.concat(inverted);
}
