// The benchmark workloads: common models and batch sizes, on synthetic data of the same shape; and the
// start of what computes their steps.
import { fileURLToPath } from 'node:url';
import { localWorkforce, openPort, startCompute } from '../coordinator/start-compute.ts';
import type { StartOptions } from '../coordinator/start-compute.ts';
import type { Batch, Compute } from '../coordinator/training/compute.ts';
import { planMemory } from '../coordinator/training/memory-plan.ts';
import { initialState } from '../coordinator/training/prepare.ts';
import type { PreparedRun } from '../coordinator/training/prepare.ts';
import type { TrainingState } from '../coordinator/training/training-state.ts';
import type { Config } from '../src/config/schema.ts';
import { validateConfig } from '../src/config/validate.ts';
import {
  blobByteLength,
  targetsByteOffset,
  totalSampleWeight,
  type PackedDataset,
  type RowLayout,
} from '../src/data/dataset/packed-dataset.ts';
import { hashDataset } from '../src/data/dataset/hash-dataset.ts';
import { LockstepError } from '../src/errors.ts';
import { createLogger } from '../src/log.ts';
import { hostMath } from '../src/kernels/host-math.ts';
import type { LoadedData } from '../src/data/load.ts';
import { planEngine } from '../src/engine/plan.ts';
import { sizeOf } from '../src/shape.ts';
import type { Shape } from '../src/shape.ts';
import type { LayerInput } from '../src/layers/registry.ts';
import { instantiateKernels } from '../src/kernels/kernels.ts';
import { loadKernelModule } from '../src/kernels/load-kernels.ts';
import type { Numerics } from '../src/kernels/kernels.ts';
import { Memory } from '../src/memory.ts';
import { generateToken } from '../src/protocol/token.ts';
import { resolveModel } from '../src/model/model.ts';
import { cutBatch } from '../src/model/shards.ts';
import { isUnlimited } from './link.ts';
import type { LinkSpeed } from './link.ts';
import { startShapedWorkers } from './shaped-workers.ts';

interface Workload {
  readonly inputShape: Shape;
  readonly layers: readonly LayerInput[];
  readonly outputs: number;
  readonly loss: 'mse' | 'crossEntropy';
  readonly batchSize: number;
}

/**
 * The models of peers/workloads.json: `mlp-mnist` 784-256-128-10, `mlp-small` 8-64-64-1, `mlp-wide`
 * 1024-1024-1024-1024-10, and `cnn-mnist`: two convolutions of 3 x 3, each with a pooling of 2,
 * then 128-10; ReLU between layers.
 */
export const WORKLOADS = {
  'mlp-small': { inputShape: [8], layers: mlp(64, 64, 1), outputs: 1, loss: 'mse', batchSize: 256 },
  'mlp-mnist': {
    inputShape: [784],
    layers: mlp(256, 128, 10),
    outputs: 10,
    loss: 'crossEntropy',
    batchSize: 256,
  },
  'mlp-wide': {
    inputShape: [1024],
    layers: mlp(1024, 1024, 1024, 10),
    outputs: 10,
    loss: 'crossEntropy',
    batchSize: 512,
  },
  'cnn-mnist': {
    inputShape: [1, 28, 28],
    layers: [
      { kind: 'conv2d', filters: 32, kernelSize: 3, padding: 'same', activation: 'relu' },
      { kind: 'maxPool2d', size: 2 },
      { kind: 'conv2d', filters: 64, kernelSize: 3, padding: 'same', activation: 'relu' },
      { kind: 'maxPool2d', size: 2 },
      { kind: 'flatten' },
      ...mlp(128, 10),
    ],
    outputs: 10,
    loss: 'crossEntropy',
    batchSize: 128,
  },
} as const satisfies Record<string, Workload>;

export type WorkloadName = keyof typeof WORKLOADS;

function mlp(...units: readonly number[]): LayerInput[] {
  return units.map((count, index) => ({
    kind: 'dense',
    units: count,
    activation: index < units.length - 1 ? 'relu' : 'linear',
  }));
}

const NUM_ROWS = 8192;

/** A run of a workload, ready to train. */
export async function syntheticRun(
  name: WorkloadName,
  {
    numerics = 'strict',
    shards,
    smallBuckets,
  }: {
    readonly numerics?: Numerics;
    readonly shards?: number | undefined;
    readonly smallBuckets?: boolean | undefined;
  } = {},
): Promise<PreparedRun> {
  const workload: Workload = WORKLOADS[name];
  const config = configOf(name, workload, { numerics, shards });
  const dataset = syntheticDataset(workload);
  const kernelModule = await loadKernelModule(numerics);
  const memory = new Memory();
  const kernels = await instantiateKernels(kernelModule, memory.wasm);
  const model = resolveModel({ ...config.model, smallBuckets }, workload.inputShape);
  const math = hostMath(kernels);
  const plan = planEngine(model, { ...config, groups: config.wire.groups });
  const data = dataOf(dataset);
  const memoryPlan = planMemory({ config, data, model, plan });
  return { config, kernelModule, kernels, memory, math, data, model, plan, memoryPlan, objects: [] };
}

/** The batch of a step: the next rows of the training split, and after its last row its first ones again. */
export function batchOf({ config, data }: PreparedRun, step: number): Batch {
  const { train } = data.splits;
  const length = Math.min(config.batchSize, train.length);
  const indices = Uint32Array.from({ length }, (_, row) => train[(step * length + row) % train.length] ?? 0);
  // Rows that all weigh nothing are no step in a training; here they take the same time.
  const weight = totalSampleWeight(data.dataset, indices) || 1;
  return { indices, bounds: cutBatch(length, config), weight };
}

/** The processes that are to compute steps. */
export interface StepSetting {
  /** Worker processes; 0 for threads of this process. */
  readonly workers: number;
  readonly threads: number;
  /** Links to a coordinator from workers that share no memory with it; by default they do. */
  readonly link?: LinkSpeed | undefined;
  /** Workers of each place in a tree; undefined for a star. */
  readonly fanIn?: number | undefined;
}

/** A computation of steps, and the function that ends it. */
export interface StartedSteps {
  readonly state: TrainingState;
  readonly compute: Compute;
  readonly close: () => Promise<void>;
}

/** Time for workers to start, besides that for the dataset, which passes two links of a tree. */
const WORKERS_WAIT_MS = 60_000;

/** Starts what computes the steps of a run: threads of this process or, of several workers, of each. */
export async function startSteps(prepared: PreparedRun, setting: StepSetting): Promise<StartedSteps> {
  const { workers, threads, link, fanIn } = setting;
  const state = await initialState(prepared);
  const program = fileURLToPath(new URL('../bin/lockstep.js', import.meta.url));
  const log = createLogger({ level: 'error' });
  const aborter = new AbortController();
  const start: Omit<StartOptions, 'workforce'> = {
    run: 'bench',
    prepared,
    state,
    sharedMemory: link === undefined,
    log,
    signal: aborter.signal,
    onEvent: () => undefined,
  };
  if (link === undefined || isUnlimited(link)) {
    const compute = await startCompute({
      ...start,
      workforce: localWorkforce(workers, threads, { program, fanIn }),
    });
    return { state, compute, close: () => compute.close(DONE, true) };
  }
  const token = generateToken();
  const address = { host: '127.0.0.1', port: 0, token };
  const loadingMs = (2 * workers * prepared.data.dataset.blob.byteLength) / link.bytesPerMs;
  const limits = { minWorkers: workers, waitForWorkersMs: WORKERS_WAIT_MS + loadingMs };
  const workforce = { kind: 'network', ...address, ...limits, fanIn } as const;
  const listener = await openPort(workforce, { log });
  const endWorkers = await startShapedWorkers({
    count: workers,
    threads,
    program,
    token,
    log,
    link,
    port: listener?.port ?? 0,
    isTree: fanIn !== undefined,
    onLost: ({ how }) => aborter.abort(new Error(`a worker process has ended for good, by ${how}`)),
  });
  try {
    const compute = await startCompute({ ...start, workforce, listener });
    const close = (): Promise<void> => compute.close(DONE, true).finally(endWorkers);
    return { state, compute, close };
  } catch (error) {
    await endWorkers();
    throw error;
  }
}

const DONE = 'the benchmark is done';

/** The workload of this name. @throws LockstepError if there is none */
export function selectWorkload(name: string): WorkloadName {
  const names = Object.keys(WORKLOADS) as WorkloadName[];
  const found = names.find((known) => known === name);
  if (found) return found;
  throw new LockstepError({
    category: 'usage',
    code: 'E_BENCH_WORKLOAD',
    message: `--workload ${name}: there is no such workload`,
    help: `choose one of ${names.join(', ')}`,
  });
}

function configOf(
  name: string,
  { layers, loss, batchSize }: Workload,
  values: { readonly numerics: Numerics; readonly shards: number | undefined },
): Config {
  const data = loss === 'mse' ? { file: 'none', target: 'y' } : { train: { images: 'none', labels: 'none' } };
  const result = validateConfig({ name, data, model: { layers }, loss, batchSize, ...values, epochs: 1 });
  if ('config' in result) return result.config;
  throw new Error(`the workload ${name} is not a valid config: ${JSON.stringify(result.findings)}`);
}

function syntheticDataset({ inputShape, outputs, loss }: Workload): PackedDataset {
  const isRegression = loss === 'mse';
  const inputs = sizeOf(inputShape);
  const layout: RowLayout = {
    numRows: NUM_ROWS,
    featureShape: inputShape,
    featureType: 'f32',
    featureScale: 1,
    targetKind: isRegression ? 'values' : 'labels',
    targetWidth: isRegression ? outputs : 1,
    numClasses: isRegression ? 0 : outputs,
    hasSampleWeights: false,
  };
  const blob = new Uint8Array(blobByteLength(layout));
  const features = new Float32Array(blob.buffer, 0, NUM_ROWS * inputs);
  // A fixed sequence without a generator's cost: the fractional part of multiples of the golden ratio.
  features.forEach((_, i) => (features[i] = ((i * 0.6180339887498949) % 1) - 0.5));
  const targets = new DataView(blob.buffer, targetsByteOffset(layout));
  for (let row = 0; row < NUM_ROWS; row++) {
    if (isRegression) targets.setFloat32(4 * row, features[row * inputs] as number, true);
    else targets.setUint32(4 * row, row % outputs, true);
  }
  return { layout, blob, sha256: hashDataset({ layout, blob }) };
}

function dataOf(dataset: PackedDataset): LoadedData {
  const train = Uint32Array.from({ length: NUM_ROWS }, (_, row) => row);
  const none = new Uint32Array(0);
  return {
    dataset,
    splits: { train, validation: none, test: none },
    transforms: { features: [], target: { kind: 'values', columns: [] } },
    featureNames: [],
    targetNames: ['y'],
    classNames: [],
    sampleWeights: undefined,
    targetValues: [],
  };
}
