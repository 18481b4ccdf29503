// What the peers in JavaScript share: where their packages are, and how a step is timed.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** Rows of the synthetic dataset. */
export const NUM_ROWS = 8192;
const HERE = fileURLToPath(new URL('.', import.meta.url));

/** Packages are looked up here: a folder in which `npm ci` has run with the package.json beside this file. */
const FOLDER = path.resolve(process.env.LOCKSTEP_PEERS ?? HERE);

/** A package and its version, or undefined where it is not installed. */
export function loadPackage(name) {
  const require = createRequire(path.join(FOLDER, 'package.json'));
  const manifest = path.join(FOLDER, 'node_modules', name, 'package.json');
  if (!fs.existsSync(manifest)) return undefined;
  const { version } = JSON.parse(fs.readFileSync(manifest, 'utf8'));
  return { exports: require(name), version, folder: path.dirname(manifest) };
}

/**
 * A peer's whole program: reads the arguments, times one workload and prints one line of
 * JSON. `load` returns {version, prepare} or {skipped}; `prepare(workload)` returns an async
 * function that takes a step.
 */
export async function runPeer(name, load) {
  const options = { seconds: { type: 'string', default: '2' }, version: { type: 'boolean', default: false } };
  const { positionals, values } = parseArgs({ options, allowPositionals: true });
  const { skipped, version, prepare } = await load();
  if (skipped !== undefined) return print({ name, skipped });
  if (values.version) return print({ name, version });
  const [workload] = positionals;
  const definition = JSON.parse(fs.readFileSync(path.join(HERE, 'workloads.json'), 'utf8'))[workload];
  if (definition === undefined) throw new Error(`${workload} is not a workload`);
  try {
    const step = await prepare(definition);
    const samplesPerSecond = await time(step, Number(values.seconds), definition.batchSize);
    print({ name, version, workload, samplesPerSecond });
  } catch (error) {
    // A peer that cannot train a model says so in its own words.
    print({ name, version, workload, failed: error.message.split('\n')[0] });
  }
}

async function time(step, seconds, batchSize) {
  await rate(step, seconds / 2);
  return (await rate(step, seconds)) * batchSize;
}

/** Steps per second, over as many as take about so long. */
async function rate(step, seconds) {
  const started = process.hrtime.bigint();
  const elapsed = () => Number(process.hrtime.bigint() - started) / 1e9;
  let count = 0;
  for (; count === 0 || elapsed() < seconds; count++) await step();
  return count / elapsed();
}

function print(result) {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

/** Values in [-0.5, 0.5). */
export function syntheticValues(length) {
  return Float32Array.from({ length }, (_, i) => ((i * 0.6180339887498949) % 1) - 0.5);
}

/** The row at which the batch of a step starts. */
export function batchStart(step, batchSize) {
  return (step * batchSize) % (NUM_ROWS - batchSize + 1);
}
