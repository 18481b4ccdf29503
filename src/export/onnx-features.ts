// The inputs of an ONNX model: the columns of a table as they were before training's transforms, which are
// nodes of the graph, or images, texts and arrays.
import type { DatePart } from '../dates.ts';
import {
  featureWidth,
  standardize as standardizeNumber,
  type FittedFeature,
  type Standardization,
} from '../data/dataset/transforms.ts';
import { BOOLEAN_PAIRS } from '../data/table/encode-features.ts';
import { MISSING_CATEGORY } from '../data/table/column.ts';
import type { LayerSpec } from '../layers/registry.ts';
import type { ModelDescription } from '../predict/model-files.ts';
import type { OnnxGraph } from './onnx-graph.ts';

/** The inputs of a table: one for each column, or one for all numbers and one for all texts. */
export const INPUT_LAYOUTS = ['columns', 'grouped'] as const;
export type InputLayout = (typeof INPUT_LAYOUTS)[number];

type ColumnFeature = Extract<FittedFeature, { readonly column: string }>;
type NumberFeature = Extract<FittedFeature, { readonly kind: 'numeric' }>;

/** The columns of a table as values of the graph. */
interface Columns {
  /** f64 [N, columns.length] of columns of numbers. */
  numbers(columns: readonly string[]): string;
  /** Texts [N, 1] of a column. */
  text(column: string): string;
}

/** Adds the inputs; returns the name of the f32 values [N, inputShape] that the first layer takes. */
export function addFeatures(graph: OnnxGraph, description: ModelDescription, inputs: InputLayout): string {
  const { transforms, inputShape, layers } = description;
  const [first] = transforms.features as [FittedFeature];
  const shape = inputShape;
  switch (first.kind) {
    case 'pixels': {
      const order = shape.length === 3 ? 'channels, rows, columns' : 'values';
      const images = graph.input({
        name: 'images',
        type: 'uint8',
        shape,
        description: `Pixels from 0 to 255: ${order}.`,
      });
      return scaleBytes(graph, images, first.scale);
    }
    case 'bytes': {
      const about = 'Bytes of a text, from 0 to 255.';
      const tokens = graph.input({ name: 'tokens', type: 'int64', shape, description: about });
      return takesIds(layers) ? tokens : graph.cast(tokens, 'float32');
    }
    case 'array': {
      const { standardized, byteScale } = first;
      if (byteScale !== null) {
        const about = 'Bytes, which are scaled as in training.';
        return scaleBytes(
          graph,
          graph.input({ name: 'samples', type: 'uint8', shape, description: about }),
          byteScale,
        );
      }
      if (standardized) {
        const about = 'Values, which are standardized as in training.';
        const samples = graph.input({ name: 'samples', type: 'float64', shape, description: about });
        const flat = graph.node('Flatten', [samples]);
        const encoded = graph.cast(standardize(graph, flat, standardized), 'float32');
        return graph.node('Reshape', [encoded, graph.ints([0, ...shape])]);
      }
      if (takesIds(layers)) {
        const about = 'Ids of tokens, from 0.';
        return graph.input({ name: 'tokens', type: 'int64', shape, description: about });
      }
      const about = 'Values, as the first layer takes them.';
      return graph.input({ name: 'samples', type: 'float32', shape, description: about });
    }
    default:
      return addTable(graph, transforms.features as readonly ColumnFeature[], inputs);
  }
}

/** Kinds of layers that change no value. */
const PASSED_ON: readonly LayerSpec['kind'][] = ['dropout', 'augment', 'flatten', 'reshape'];

/** True where the first layer that changes values looks up ids. */
export function takesIds(layers: readonly LayerSpec[]): boolean {
  const first = layers.find(({ kind }) => !PASSED_ON.includes(kind));
  return first?.kind === 'embedding';
}

function scaleBytes(graph: OnnxGraph, bytes: string, scale: number): string {
  const values = graph.cast(bytes, 'float32');
  return scale === 1 ? values : graph.node('Mul', [values, graph.float(scale)]);
}

/** (x - mean) / scale in f64, as in training; divided by infinity a constant column is 0. */
function standardize(graph: OnnxGraph, values: string, by: readonly Standardization[]): string {
  const means = graph.doubles(
    by.map(({ mean }) => mean),
    [by.length],
  );
  const scales = graph.doubles(
    by.map(({ scale }) => (scale === 0 ? Infinity : scale)),
    [by.length],
  );
  return graph.node('Div', [graph.node('Sub', [values, means]), scales]);
}

/** Puts the fill of each column in the place of NaN; NaN stays where training had no cell missing. */
function fillIn(graph: OnnxGraph, values: string, fills: readonly (number | null)[]): string {
  if (fills.every((fill) => fill === null)) return values;
  const constants = graph.doubles(
    fills.map((fill) => fill ?? NaN),
    [fills.length],
  );
  return graph.node('Where', [graph.node('IsNaN', [values]), constants, values]);
}

function addTable(graph: OnnxGraph, features: readonly ColumnFeature[], inputs: InputLayout): string {
  const used = features.filter((feature) => featureWidth(feature) > 0);
  const columns = inputs === 'columns' ? separateColumns(graph, used) : groupedColumns(graph, used);
  const parts: string[] = [];
  for (let at = 0; at < used.length;) {
    const run = numbersFrom(used, at);
    if (run.length > 0) parts.push(addNumbers(graph, run, columns));
    else parts.push(addFeature(graph, used[at] as ColumnFeature, columns));
    at += Math.max(run.length, 1);
  }
  return graph.concat(parts);
}

/** Plain numbers are taken together where they follow one another, so that wide tables need few nodes. */
function numbersFrom(features: readonly ColumnFeature[], start: number): NumberFeature[] {
  const rest = features.slice(start);
  const end = rest.findIndex(({ kind }) => kind !== 'numeric');
  return (end < 0 ? rest : rest.slice(0, end)) as NumberFeature[];
}

function isText({ kind }: ColumnFeature): boolean {
  return kind === 'categorical' || kind === 'boolean' || kind === 'ordinal' || kind === 'embedding';
}

function separateColumns(graph: OnnxGraph, features: readonly ColumnFeature[]): Columns {
  const inputs = new Map(
    features.map((feature) => {
      const { column: name } = feature;
      const type = isText(feature) ? 'string' : 'float64';
      return [name, graph.input({ name, type, shape: [1], description: describe(feature) })];
    }),
  );
  const inputOf = (column: string): string => inputs.get(column) as string;
  return { numbers: (columns) => graph.concat(columns.map(inputOf)), text: inputOf };
}

function groupedColumns(graph: OnnxGraph, features: readonly ColumnFeature[]): Columns {
  const [texts, numbers] = [features.filter(isText), features.filter((feature) => !isText(feature))];
  const add = (name: string, type: 'string' | 'float64', members: readonly ColumnFeature[]) => {
    const description = members.map((feature) => `${feature.column}: ${describe(feature)}`).join('\n');
    const input =
      members.length === 0 ? '' : graph.input({ name, type, shape: [members.length], description });
    const places = new Map(members.map(({ column }, place) => [column, place]));
    return (columns: readonly string[]): string => {
      const indices = graph.ints(columns.map((column) => places.get(column) as number));
      return graph.node('Gather', [input, indices], { attributes: { axis: { int: 1 } } });
    };
  };
  const takeTexts = add('texts', 'string', texts);
  return { numbers: add('numbers', 'float64', numbers), text: (column) => takeTexts([column]) };
}

/** The description of an input, for whoever reads the file. */
function describe(feature: ColumnFeature): string {
  switch (feature.kind) {
    case 'numeric':
      return `A number${missing(feature, 'NaN')}.`;
    case 'boolean':
      return `true or false, yes or no, on or off, or 1 or 0${missing(feature, 'an empty text')}.`;
    case 'ordinal':
      return `One of: ${feature.order.join(', ')}${missing(feature, 'an empty text')}.`;
    case 'embedding':
      return 'A text; those without a vector of their own share one.';
    case 'categorical':
      return 'A text; one that training never saw counts as none.';
    case 'hash':
      return `FNV-1a of the text's bytes in UTF-8, 32 bits, modulo ${feature.buckets}; NaN for no text.`;
    case 'date':
      return `Milliseconds since 1970 in UTC${missing(feature, 'NaN')}.`;
  }
}

function missing({ fill }: { readonly fill: number | null }, absent: string): string {
  return fill === null ? '' : `; ${absent} where it is missing`;
}

function addNumbers(graph: OnnxGraph, run: readonly NumberFeature[], columns: Columns): string {
  const values = columns.numbers(run.map(({ column }) => column));
  const filled = fillIn(
    graph,
    values,
    run.map(({ fill }) => fill),
  );
  return graph.cast(standardize(graph, filled, run), 'float32');
}

function addFeature(graph: OnnxGraph, feature: ColumnFeature, columns: Columns): string {
  const { column } = feature;
  switch (feature.kind) {
    case 'numeric':
      return addNumbers(graph, [feature], columns);
    case 'categorical': {
      const slots = feature.categories.map((text, slot): [string, number] => [text, slot]);
      const slot = encodeTexts(graph, columns.text(column), slots, -1);
      const every = Float32Array.from(slots.keys());
      return graph.cast(
        graph.node('Equal', [slot, graph.floats('/slots', every, [slots.length])]),
        'float32',
      );
    }
    case 'embedding': {
      const ids = feature.texts.map((text, place): [string, number] => [text, 1 + place]);
      return encodeTexts(graph, columns.text(column), ids, 0);
    }
    case 'boolean': {
      const words = [...BOOLEAN_PAIRS, ['1', '0'] as const].flatMap(([yes, no]): [string, number][] => [
        ...casesOf(yes).map((text): [string, number] => [text, 1]),
        ...casesOf(no).map((text): [string, number] => [text, 0]),
      ]);
      return lookUp(graph, columns.text(column), words, { ...feature, mean: 0, scale: 1 });
    }
    case 'ordinal': {
      const places = feature.order.map((text, place): [string, number] => [text, place]);
      return lookUp(graph, columns.text(column), places, feature);
    }
    case 'hash': {
      const buckets = Array.from({ length: feature.buckets }, (_, bucket) => bucket);
      const slots = graph.doubles(buckets, [feature.buckets]);
      return graph.cast(graph.node('Equal', [columns.numbers([column]), slots]), 'float32');
    }
    case 'date':
      return addDate(graph, fillIn(graph, columns.numbers([column]), [feature.fill]), feature.parts);
  }
}

/** A word in small letters, in capitals, and with a capital; a single letter or digit once each. */
function casesOf(word: string): string[] {
  const upper = word.toUpperCase();
  return [...new Set([word, upper, upper.slice(0, 1) + word.slice(1)])];
}

/** Standardized numbers of texts; NaN, as no cell may be that, for a text that stands for none. */
function lookUp(
  graph: OnnxGraph,
  text: string,
  numbers: readonly (readonly [text: string, number: number])[],
  { fill, ...by }: Standardization & { readonly fill: number | null },
): string {
  const entries = [...numbers, [MISSING_CATEGORY, fill ?? NaN] as const];
  const encoded = entries.map(([word, number]) => [word, standardizeNumber(number, by)] as const);
  return encodeTexts(graph, text, encoded, NaN);
}

/** The f32 number that each text has. */
function encodeTexts(
  graph: OnnxGraph,
  text: string,
  numbers: readonly (readonly [text: string, number: number])[],
  other: number,
): string {
  return graph.node('LabelEncoder', [text], {
    attributes: {
      keys_strings: { texts: numbers.map(([word]) => word) },
      values_floats: { floats: numbers.map(([, number]) => number) },
      default_float: { float: other },
    },
    isMl: true,
  });
}

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
/** Days of 400 years, after which the calendar repeats. */
const ERA_DAYS = 146_097;
/** Days from the first of March of the year -400 to 1970: years that begin in March end with the leap day. */
const DAYS_BEFORE_1970 = 719_468 + ERA_DAYS;

/** The parts of dates in milliseconds since 1970, f64 [N, 1], standardized. */
function addDate(
  graph: OnnxGraph,
  ms: string,
  parts: readonly (Standardization & { readonly part: DatePart })[],
): string {
  const double = (opType: string, a: string, b: number): string => graph.node(opType, [a, graph.double(b)]);
  const days = double('Div', ms, DAY_MS);
  const midnight = graph.node('Floor', [days]);
  const calendar = new CalendarNodes(graph, graph.cast(midnight, 'int64'));
  // What is no number is none in whole numbers, so it is added back: 0 for every date.
  const nothing = graph.node('Sub', [ms, ms]);
  const values = parts.map(({ part }) => {
    if (part === 'days') return days;
    if (part === 'hour') {
      const time = graph.node('Sub', [ms, double('Mul', midnight, DAY_MS)]);
      return double('Div', time, HOUR_MS);
    }
    return graph.node('Add', [graph.cast(calendar[part](), 'float64'), nothing]);
  });
  return graph.cast(standardize(graph, graph.concat(values), parts), 'float32');
}

/**
 * Parts of a day's date, in whole numbers. Source: H. Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms", civil_from_days, where years begin in March.
 */
class CalendarNodes {
  readonly #graph: OnnxGraph;
  readonly #days: string;

  /** `days` since 1970, i64. */
  constructor(graph: OnnxGraph, days: string) {
    this.#graph = graph;
    this.#days = days;
  }

  /** Monday is 0; the first of January 1970 was a Thursday. */
  weekday(): string {
    return this.#with('Mod', this.#with('Add', this.#days, 3), 7);
  }

  day(): string {
    const { dayOfYear, month } = this.#resolve();
    return this.#with('Add', this.#between('Sub', dayOfYear, this.#firstDayOf(month)), 1);
  }

  month(): string {
    const { month, isNextYear } = this.#resolve();
    return this.#between('Sub', this.#with('Add', month, 3), this.#with('Mul', isNextYear, 12));
  }

  year(): string {
    const { year, isNextYear } = this.#resolve();
    return this.#between('Add', year, isNextYear);
  }

  /** The year, the day in it and the month, from 0, all from March on; and 1 in January and February. */
  #resolve() {
    const days = this.#with('Add', this.#days, DAYS_BEFORE_1970);
    const era = this.#with('Div', days, ERA_DAYS);
    const dayOfEra = this.#with('Mod', days, ERA_DAYS);
    const fewer = this.#between('Sub', dayOfEra, this.#with('Div', dayOfEra, 1460));
    const more = this.#between('Add', fewer, this.#with('Div', dayOfEra, 36_524));
    const leapless = this.#between('Sub', more, this.#with('Div', dayOfEra, 146_096));
    const yearOfEra = this.#with('Div', leapless, 365);
    const leapDays = this.#between('Sub', this.#with('Div', yearOfEra, 4), this.#with('Div', yearOfEra, 100));
    const daysBefore = this.#between('Add', this.#with('Mul', yearOfEra, 365), leapDays);
    const dayOfYear = this.#between('Sub', dayOfEra, daysBefore);
    const month = this.#with('Div', this.#with('Add', this.#with('Mul', dayOfYear, 5), 2), 153);
    const year = this.#between('Add', yearOfEra, this.#with('Sub', this.#with('Mul', era, 400), 400));
    return { dayOfYear, month, year, isNextYear: this.#with('Div', month, 10) };
  }

  #firstDayOf(month: string): string {
    return this.#with('Div', this.#with('Add', this.#with('Mul', month, 153), 2), 5);
  }

  #with(opType: string, value: string, constant: number): string {
    return this.#between(opType, value, this.#graph.int(constant));
  }

  #between(opType: string, a: string, b: string): string {
    return this.#graph.node(opType, [a, b]);
  }
}
