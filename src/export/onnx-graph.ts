// An ONNX graph under construction: nodes, constants, inputs and outputs, each with a name of its own, and
// the file made of them. Which nodes a model needs is not known here.
import { create, toBinary } from '@bufbuild/protobuf';
import {
  AttributeProto_AttributeType as AttributeType,
  ModelProtoSchema,
  TensorProto_DataType as DataType,
} from 'onnx-buf';
import type { GraphProto, ModelProto } from 'onnx-buf';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { VERSION } from '../version.ts';
import type { Shape } from '../shape.ts';

type GraphParts = Required<Pick<MessageInitShape<typeof ModelProtoSchema>, 'graph'>>['graph'];
type Node = NonNullable<Exclude<GraphParts, GraphProto>['node']>[number];
type Constant = NonNullable<Exclude<GraphParts, GraphProto>['initializer']>[number];
type ValueInfo = NonNullable<Exclude<GraphParts, GraphProto>['input']>[number];

/** Operators of this version are used; `LayerNormalization` is the newest of them. */
const OPSET = 17;
/** Operators of `ai.onnx.ml`, which read texts. */
const ML_OPSET = 2;
const ML_DOMAIN = 'ai.onnx.ml';
/** The version of the file format that came with the operators. */
const IR_VERSION = 8n;

/** The types of inputs and outputs. */
const TYPES = {
  float32: DataType.FLOAT,
  float64: DataType.DOUBLE,
  uint8: DataType.UINT8,
  int64: DataType.INT64,
  string: DataType.STRING,
} as const;
export type ElementType = keyof typeof TYPES;

/** The value of an attribute: whole numbers are told from others by their type, as ONNX does. */
export type Attribute =
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly float: number }
  | { readonly floats: readonly number[] }
  | { readonly texts: readonly string[] };

/** A node beyond its operator and inputs. */
export interface NodeOptions {
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** True for an operator of `ai.onnx.ml`. */
  readonly isMl?: boolean;
}

/** An input or output of the whole graph; its first dimension is the number of samples. */
export interface Port {
  readonly name: string;
  readonly type: ElementType;
  /** Shape of a sample. */
  readonly shape: Shape;
  readonly description: string;
}

/** A graph under construction. Values are referred to by name. */
export class OnnxGraph {
  readonly #nodes: Node[] = [];
  readonly #constants: Constant[] = [];
  readonly #inputs: ValueInfo[] = [];
  readonly #outputs: ValueInfo[] = [];
  readonly #names = new Set<string>();
  /** Names of small constants by their content. */
  readonly #scalars = new Map<string, string>();
  #numNodes = 0;
  #usesMl = false;
  /** Bytes of all constants so far. */
  numBytes = 0;

  /** Adds an input; returns its name. */
  input(port: Port): string {
    const name = this.#claim(port.name);
    this.#inputs.push(valueInfo({ ...port, name }));
    return name;
  }

  /** Makes a value an output of the graph; returns the output's name. */
  output(value: string, port: Port): string {
    const name = this.#claim(port.name);
    this.#nodes.push({ opType: 'Identity', name: `/output/${name}`, input: [value], output: [name] });
    this.#outputs.push(valueInfo({ ...port, name }));
    return name;
  }

  /** Adds a node with one output; returns the name of that value. */
  node(opType: string, input: readonly string[], options: NodeOptions = {}): string {
    return this.nodes(opType, input, 1, options)[0] as string;
  }

  /** Adds a node with several outputs; returns their names. */
  nodes(
    opType: string,
    input: readonly string[],
    numOutputs: number,
    { attributes = {}, isMl = false }: NodeOptions = {},
  ): string[] {
    this.#usesMl ||= isMl;
    const name = this.#claim(`/${opType}_${this.#numNodes++}`);
    const output = Array.from({ length: numOutputs }, (_, at) => (at === 0 ? name : `${name}.${at}`));
    const attribute = Object.entries(attributes).map(([key, value]) => ({ name: key, ...encode(value) }));
    this.#nodes.push({ opType, name, input: [...input], output, attribute, domain: isMl ? ML_DOMAIN : '' });
    return output;
  }

  /** Adds a node that converts numbers. */
  cast(value: string, type: Exclude<ElementType, 'string'>): string {
    return this.node('Cast', [value], { attributes: { to: { int: TYPES[type] } } });
  }

  /** Adds a node that joins values along the axis after that of samples. */
  concat(values: readonly string[]): string {
    if (values.length === 1) return values[0] as string;
    return this.node('Concat', values, { attributes: { axis: { int: 1 } } });
  }

  /** Adds f32 values; returns their name. */
  floats(name: string, values: Float32Array, shape: Shape): string {
    return this.#constant(name, { dataType: DataType.FLOAT, rawData: bytesOf(values) }, shape);
  }

  /** Adds f64 values. */
  doubles(values: readonly number[], shape: Shape): string {
    const rawData = bytesOf(Float64Array.from(values));
    return this.#constant('/doubles', { dataType: DataType.DOUBLE, rawData }, shape);
  }

  /** Adds a list of texts. */
  texts(texts: readonly string[]): string {
    const stringData = texts.map(encodeText);
    return this.#constant('/texts', { dataType: DataType.STRING, stringData }, [texts.length]);
  }

  /** A list of whole numbers, as shapes and axes are given. */
  ints(values: readonly number[]): string {
    return this.#shared(`ints ${values.join()}`, () => this.#int64(values, [values.length]));
  }

  /** One whole number. */
  int(value: number): string {
    return this.#shared(`int ${value}`, () => this.#int64([value], []));
  }

  /** One f32. */
  float(value: number): string {
    return this.#shared(`float ${value}`, () => this.floats('/float', Float32Array.of(value), []));
  }

  /** One f64. */
  double(value: number): string {
    return this.#shared(`double ${value}`, () => this.doubles([value], []));
  }

  /** The file. `metadata` is stored beside the graph. */
  encode(name: string, description: string, metadata: Readonly<Record<string, string>>): Uint8Array {
    const ml = this.#usesMl ? [{ domain: ML_DOMAIN, version: BigInt(ML_OPSET) }] : [];
    const model: ModelProto = create(ModelProtoSchema, {
      irVersion: IR_VERSION,
      producerName: 'lockstep',
      producerVersion: VERSION,
      docString: description,
      opsetImport: [{ domain: '', version: BigInt(OPSET) }, ...ml],
      metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
      graph: {
        name,
        node: this.#nodes,
        initializer: this.#constants,
        input: this.#inputs,
        output: this.#outputs,
      },
    });
    return toBinary(ModelProtoSchema, model);
  }

  #int64(values: readonly number[], shape: Shape): string {
    const rawData = bytesOf(BigInt64Array.from(values, BigInt));
    return this.#constant('/ints', { dataType: DataType.INT64, rawData }, shape);
  }

  #constant(wanted: string, data: Omit<Constant, 'name' | 'dims' | '$typeName'>, shape: Shape): string {
    const name = this.#claim(wanted);
    this.#constants.push({ name, dims: shape.map(BigInt), ...data });
    this.numBytes += data.rawData?.byteLength ?? 0;
    return name;
  }

  #shared(key: string, make: () => string): string {
    const name = this.#scalars.get(key) ?? make();
    this.#scalars.set(key, name);
    return name;
  }

  /** A name that nothing else has: the wanted one, or one that begins with it. */
  #claim(wanted: string): string {
    let name = wanted;
    for (let count = 1; this.#names.has(name); count++) name = `${wanted}_${count}`;
    this.#names.add(name);
    return name;
  }
}

function valueInfo({ name, type, shape, description }: Port): ValueInfo {
  const sides = shape.map((side) => ({ value: { case: 'dimValue' as const, value: BigInt(side) } }));
  const dim = [{ value: { case: 'dimParam' as const, value: 'N' } }, ...sides];
  const tensor = { elemType: TYPES[type], shape: { dim } };
  return { name, docString: description, type: { value: { case: 'tensorType', value: tensor } } };
}

function encode(attribute: Attribute) {
  if ('int' in attribute) return { type: AttributeType.INT, i: BigInt(attribute.int) };
  if ('ints' in attribute) return { type: AttributeType.INTS, ints: attribute.ints.map(BigInt) };
  if ('float' in attribute) return { type: AttributeType.FLOAT, f: attribute.float };
  if ('floats' in attribute) return { type: AttributeType.FLOATS, floats: [...attribute.floats] };
  return { type: AttributeType.STRINGS, strings: attribute.texts.map(encodeText) };
}

function encodeText(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(text, 'utf8'));
}

/** A file's numbers are little-endian, as are those of every machine that WebAssembly runs on. */
function bytesOf(values: Float32Array | Float64Array | BigInt64Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(values.slice().buffer);
}
