// A trained model as a Python module: an nn.Sequential whose tensors have the names of the weights file, and
// what rows go through before and after it. It needs PyTorch alone.
import type { FittedFeature } from '../data/dataset/transforms.ts';
import { BOOLEAN_PAIRS } from '../data/table/encode-features.ts';
import type { Activation } from '../layers/activation.ts';
import type { AugmentLayer } from '../layers/augment.ts';
import type { Conv2dLayer } from '../layers/conv2d/conv2d.ts';
import type { Layer } from '../layers/layer.ts';
import type { LayerSpec } from '../layers/registry.ts';
import type { ResidualLayer } from '../layers/residual.ts';
import type { Stack } from '../layers/stack.ts';
import { DESCRIPTION_FILE, WEIGHTS_FILE, type SavedModel } from '../predict/model-files.ts';
import { sizeOf } from '../shape.ts';
import { takesIds } from './onnx-features.ts';

/** The source of the module, to lie beside the two files of the model. */
export function pythonModule({ description, model }: SavedModel): string {
  const { layers, lockstep, transforms } = description;
  const built = modulesOf(layers, model.stack).map((module) => `        ${module},\n`);
  const classes = Object.entries(CLASSES).filter(([name]) => built.some((module) => module.includes(name)));
  const [first] = transforms.features as [FittedFeature];
  return [
    `"""Trained by Lockstep ${lockstep}. Needs PyTorch; reads ${DESCRIPTION_FILE} and ${WEIGHTS_FILE} beside it."""\n`,
    IMPORTS,
    ...classes.map(([, source]) => source),
    `def build():\n    return nn.Sequential(\n${built.join('')}    )\n`,
    LOAD,
    'column' in first ? ENCODE_TABLE : encodeArrays(first, takesIds(layers)),
    PREDICT,
  ].join('\n\n');
}

/** Modules of an nn.Sequential, numbered as the tensors' names are. */
function modulesOf(specs: readonly LayerSpec[], stack: Stack): string[] {
  return specs.flatMap((spec, index) => modulesOfLayer(spec, stack.layers[index] as Layer));
}

function modulesOfLayer(spec: LayerSpec, layer: Layer): string[] {
  const { inputShape, outputShape } = layer;
  const [channels = 1, height] = inputShape;
  switch (spec.kind) {
    case 'dense': {
      const isImage = inputShape.length > 2;
      const inputs = isImage ? sizeOf(inputShape) : inputShape.at(-1);
      const linear = `nn.Linear(${inputs}, ${spec.units}, bias=${bool(spec.bias)})`;
      return [...(isImage ? ['nn.Flatten()'] : []), linear, ...activation(spec.activation)];
    }
    case 'activation':
      return spec.function === 'softmax' ? ['nn.Softmax(dim=-1)'] : activation(spec.function);
    case 'layerNorm':
      return [`nn.LayerNorm(${inputShape.at(-1)}, eps=${spec.epsilon})`];
    case 'batchNorm': {
      const dimensions = inputShape.length === 3 ? 2 : 1;
      return [`nn.BatchNorm${dimensions}d(${channels}, eps=${spec.epsilon}, momentum=${spec.momentum})`];
    }
    case 'dropout':
      return [`nn.Dropout(${spec.rate})`];
    case 'augment':
      return crop(layer as AugmentLayer);
    case 'embedding':
      return [`nn.Embedding(${spec.vocabulary}, ${spec.units})`];
    case 'columnEmbeddings': {
      const columns = spec.columns.map(({ place, vocabulary, units }) => tuple([place, vocabulary, units]));
      return [`ColumnEmbeddings(${columns.join(', ')})`];
    }
    case 'positionalEmbedding':
      return [`PositionalEmbedding(${inputShape.join(', ')})`];
    case 'attention':
      return [`SelfAttention(${height}, ${spec.heads}, causal=${bool(spec.causal)})`];
    case 'residual': {
      const { body, shortcut } = layer as ResidualLayer;
      const inside = modulesOf(spec.layers, body as Stack).join(', ');
      const around = spec.shortcut ? modulesOf(spec.shortcut, shortcut as Stack).join(', ') : '';
      return [`Residual([${inside}]${around === '' ? '' : `, [${around}]`})`];
    }
    case 'conv2d':
      return [convolution(layer as Conv2dLayer), ...activation(spec.activation)];
    case 'maxPool2d':
    case 'avgPool2d': {
      const name = spec.kind === 'maxPool2d' ? 'MaxPool2d' : 'AvgPool2d';
      return [`nn.${name}(${tuple(spec.size)}, ${tuple(spec.stride ?? spec.size)}, ${tuple(spec.padding)})`];
    }
    case 'globalAvgPool2d':
      return ['nn.AdaptiveAvgPool2d(1)', 'nn.Flatten()'];
    case 'flatten':
      return ['nn.Flatten()'];
    case 'reshape':
      return [`Reshape(${outputShape.join(', ')})`];
    case 'lstm':
    case 'gru': {
      const name = spec.kind === 'lstm' ? 'Lstm' : 'Gru';
      return [`${name}(${height}, ${spec.units}, every=${bool(spec.returnSequences)})`];
    }
    default:
      return spec satisfies never;
  }
}

/** The middle of each image, by padding that takes away. */
function crop({ crop: start, inputShape, outputShape }: AugmentLayer): string[] {
  if (!start) return [];
  const [top, left] = start;
  const [, height = 0, width = 0] = inputShape;
  const [, outHeight = 0, outWidth = 0] = outputShape;
  const ends = [left - (width - outWidth), top - (height - outHeight)];
  return [`nn.ZeroPad2d((${-left}, ${ends[0]}, ${-top}, ${ends[1]}))`];
}

function activation(name: Activation): string[] {
  const modules: Record<Activation, string | undefined> = {
    linear: undefined,
    relu: 'nn.ReLU()',
    leakyRelu: 'nn.LeakyReLU()',
    tanh: 'nn.Tanh()',
    sigmoid: 'nn.Sigmoid()',
    elu: 'nn.ELU()',
    gelu: 'nn.GELU()',
    geluTanh: 'nn.GELU(approximate="tanh")',
    silu: 'nn.SiLU()',
  };
  return modules[name] === undefined ? [] : [modules[name]];
}

/** PyTorch pads both ends of a side alike; where `same` does not, a class pads first. */
function convolution({ spec, window, inputShape }: Conv2dLayer): string {
  const [height, width, , , , , top, left, , , , , paddedHeight, paddedWidth] = window.geometry as [
    ...(readonly [number, number, number, number, number, number, number, number, number, number]),
    ...(readonly [number, number, number, number]),
  ];
  const sizes = `${inputShape[0]}, ${spec.filters}, ${tuple(window.size)}, stride=${tuple(spec.stride)}`;
  const rest = `dilation=${tuple(spec.dilation)}, groups=${spec.groups}, bias=${bool(spec.bias)}`;
  const [bottom, right] = [paddedHeight - top - height, paddedWidth - left - width];
  if (spec.padding !== 'same' || (bottom === top && right === left))
    return `nn.Conv2d(${sizes}, padding=${tuple([top, left])}, ${rest})`;
  return `PaddedConv2d((${left}, ${right}, ${top}, ${bottom}), ${sizes}, ${rest})`;
}

function bool(value: boolean): string {
  return value ? 'True' : 'False';
}

function tuple(value: number | readonly number[]): string {
  return typeof value === 'number' ? String(value) : `(${value.join(', ')})`;
}

const IMPORTS = `import json
import math
import re
from datetime import datetime, timedelta
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).resolve().parent
CONFIG = json.loads((HERE / "${DESCRIPTION_FILE}").read_text(encoding="utf-8"))
`;

/** Modules that PyTorch has under other names or with other results, by the name that a model uses. */
const CLASSES = {
  'Reshape(': `class Reshape(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(len(x), *self.shape)
`,
  'ColumnEmbeddings(': `class ColumnEmbeddings(nn.Module):
    def __init__(self, *columns):
        super().__init__()
        self.places = [place for place, _, _ in columns]
        self.tables = nn.ModuleList(nn.Embedding(vocabulary, units) for _, vocabulary, units in columns)

    def forward(self, x):
        parts, start = [], 0
        for place, table in zip(self.places, self.tables):
            parts += [x[:, start:place], table(x[:, place].long())]
            start = place + 1
        return torch.cat([*parts, x[:, start:]], dim=1)
`,
  'PositionalEmbedding(': `class PositionalEmbedding(nn.Embedding):
    def forward(self, x):
        return x + self.weight
`,
  'SelfAttention(': `class SelfAttention(nn.MultiheadAttention):
    def __init__(self, units, heads, causal):
        super().__init__(units, heads, batch_first=True)
        self.causal = causal

    def forward(self, x):
        positions = x.shape[1]
        mask = torch.ones(positions, positions, dtype=torch.bool, device=x.device).triu(1)
        return super().forward(x, x, x, attn_mask=mask if self.causal else None, need_weights=False)[0]
`,
  'Residual(': `class Residual(nn.Module):
    def __init__(self, body, shortcut=()):
        super().__init__()
        self.body = nn.Sequential(*body)
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x):
        return self.body(x) + self.shortcut(x)
`,
  'PaddedConv2d(': `class PaddedConv2d(nn.Conv2d):
    def __init__(self, border, *sizes, **options):
        super().__init__(*sizes, **options)
        self.border = border

    def forward(self, x):
        return super().forward(nn.functional.pad(x, self.border))
`,
  'Lstm(': `class Lstm(nn.LSTM):
    def __init__(self, features, units, every):
        super().__init__(features, units, batch_first=True)
        self.every = every

    def forward(self, x):
        y, _ = super().forward(x)
        return y if self.every else y[:, -1]
`,
  'Gru(': `class Gru(nn.GRU):
    def __init__(self, features, units, every):
        super().__init__(features, units, batch_first=True)
        self.every = every

    def forward(self, x):
        y, _ = super().forward(x)
        return y if self.every else y[:, -1]
`,
} as const;

const LOAD = `def read_weights(path):
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    return {
        name: torch.frombuffer(
            bytearray(data[start + tensor["data_offsets"][0] : start + tensor["data_offsets"][1]]),
            dtype=torch.float32,
        ).reshape(tensor["shape"])
        for name, tensor in header.items()
        if name != "__metadata__"
    }


def load():
    """The model with its weights, for predictions."""
    model = build()
    model.load_state_dict(read_weights(HERE / "${WEIGHTS_FILE}"))
    return model.eval()
`;

const ENCODE_TABLE = `def is_missing(cell):
    return cell is None or cell != cell or str(cell) in ("", *CONFIG["table"].get("missingTokens", ()))


def number_of(cell):
    if not isinstance(cell, str):
        return float(cell)
    table = CONFIG["table"]
    return float(cell.replace(table.get("thousands") or "\\0", "").replace(table["decimal"], "."))


DATE = re.compile(
    r"(\\d+)[-/.](\\d+)[-/.](\\d+)(?:[T ]+(\\d+):(\\d+)(?::(\\d+(?:\\.\\d+)?))?\\s*(Z|[+-]\\d\\d:?\\d\\d)?)?", re.I
)
EPOCH = datetime(1970, 1, 1)


def milliseconds(text, order):
    *numbers, zone = DATE.fullmatch(str(text)).groups()
    first, second, third, hours, minutes, seconds = (float(number or 0) for number in numbers)
    year, month, day = {
        "ymd": (first, second, third),
        "dmy": (third, second, first),
        "mdy": (third, first, second),
    }[order]
    midnight = (datetime(int(year), int(month), int(day)) - EPOCH).days * 86_400_000
    offset = 0
    if zone and zone.upper() != "Z":
        offset = (60 * int(zone[1:3]) + int(zone[-2:])) * (-60_000 if zone[0] == "-" else 60_000)
    return midnight + (hours * 60 + minutes) * 60_000 + seconds * 1000 - offset


def date_part(ms, part):
    date = EPOCH + timedelta(milliseconds=ms)
    if part == "days":
        return ms / 86_400_000
    if part == "hour":
        return ms % 86_400_000 / 3_600_000
    return date.weekday() if part == "weekday" else getattr(date, part)


def standardize(value, by):
    return 0 if by["scale"] == 0 else (value - by["mean"]) / by["scale"]


def hash_of(text):
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 % 2**32
    return value


WORDS = ${JSON.stringify(Object.fromEntries([...BOOLEAN_PAIRS, ['1', '0'] as const].flatMap(([yes, no]) => [[yes, 1] as const, [no, 0] as const])))}


IDS = {
    feature["column"]: {text: 1 + place for place, text in enumerate(feature["texts"])}
    for feature in CONFIG["transforms"]["features"]
    if feature["kind"] == "embedding"
}


def encode_cell(cell, feature):
    missing, kind = is_missing(cell), feature["kind"]
    if kind == "embedding":
        return [float(IDS[feature["column"]].get("" if missing else str(cell), 0))]
    if kind == "categorical":
        return [float(("" if missing else str(cell)) == category) for category in feature["categories"]]
    if kind == "hash":
        bucket = -1 if missing else hash_of(str(cell)) % feature["buckets"]
        return [float(bucket == other) for other in range(feature["buckets"])]
    if missing and feature["fill"] is None:
        raise ValueError(f"column {feature['column']} has no value, which training never saw")
    if kind == "date":
        ms = feature["fill"] if missing else milliseconds(cell, feature["format"])
        return [standardize(date_part(ms, part["part"]), part) for part in feature["parts"]]
    if missing:
        value = feature["fill"]
    elif kind == "ordinal":
        value = feature["order"].index(str(cell))
    else:
        value = WORDS[str(cell).lower()] if kind == "boolean" else number_of(cell)
    return [value if kind == "boolean" else standardize(value, feature)]


def encode(rows):
    """Rows, as mappings by column name, to what the model takes."""
    features = CONFIG["transforms"]["features"]
    values = [[x for f in features for x in encode_cell(row[f["column"]], f)] for row in rows]
    return torch.tensor(values, dtype=torch.float64).float()
`;

function encodeArrays(feature: FittedFeature, isIds: boolean): string {
  const scale =
    feature.kind === 'pixels' ? feature.scale : feature.kind === 'array' ? feature.byteScale : null;
  const standardized = feature.kind === 'array' && feature.standardized !== null;
  const lines = [
    'def encode(samples):',
    `    """Samples, ${scale === null ? 'numbers' : 'bytes'} in nested lists or an array, to what the model takes."""`,
    '    values = torch.as_tensor(samples).reshape(-1, *CONFIG["inputShape"])',
    ...(standardized
      ? [
          '    by = CONFIG["transforms"]["features"][0]["standardized"]',
          '    means = torch.tensor([one["mean"] for one in by], dtype=torch.float64)',
          '    scales = torch.tensor([one["scale"] or math.inf for one in by], dtype=torch.float64)',
          '    values = ((values.double().flatten(1) - means) / scales).reshape(values.shape)',
        ]
      : []),
    `    return values.${isIds ? 'long' : 'float'}()${scale === null || scale === 1 ? '' : ` * ${scale}`}`,
  ];
  return `${lines.join('\n')}\n`;
}

const PREDICT = `def decode(outputs):
    """Outputs of the model to classes with their probabilities, or to values in the target's own unit."""
    positions = CONFIG["transforms"]["target"].get("positions")
    if positions is None:
        return decode_rows(outputs)
    rows = decode_rows(outputs.reshape(len(outputs) * positions, -1))
    return [rows[start : start + positions] for start in range(0, len(rows), positions)]


def decode_rows(outputs):
    target, loss = CONFIG["transforms"]["target"], CONFIG["loss"]["kind"]
    outputs = outputs.double()
    if target["kind"] == "labels":
        names = target["classNames"]
        if loss == "binaryCrossEntropy":
            yes = outputs.flatten(1)[:, -1]
            probabilities = torch.stack([torch.sigmoid(-yes), torch.sigmoid(yes)], dim=1)
        else:
            probabilities = (outputs if outputs.dim() == 2 else outputs[:, -1]).softmax(dim=-1)
        return [
            {"class": names[row.argmax()], "probabilities": dict(zip(names, row.tolist()))}
            for row in probabilities
        ]
    values = outputs.flatten(1)
    if loss == "binaryCrossEntropy":
        values = torch.sigmoid(values)
    columns = target["columns"]
    return [
        {column["column"]: invert(value, column["steps"]) for column, value in zip(columns, row)}
        for row in values.tolist()
    ]


def invert(value, steps):
    for step in reversed(steps):
        value = math.exp(value) if step["kind"] == "log" else value * step["scale"] + step["mean"]
    return value


@torch.no_grad()
def predict(rows, model=None):
    return decode((model or load())(encode(rows)))
`;
