// Runs the simulator of the coordinator's decisions: `npm run simulate -- --seed N` for one seed,
// `-- --seeds N` for the first N. A seed that fails is printed with what went wrong, and can be run
// again.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { seed: { type: 'string' }, seeds: { type: 'string' } } });
const range = values.seed ?? `1-${values.seeds ?? 1000}`;
if (!/^\d+(-\d+)?$/.test(range)) {
  console.error('usage: npm run simulate -- [--seed N | --seeds COUNT]');
  process.exit(2);
}
const vitest = new URL('../node_modules/vitest/vitest.mjs', import.meta.url).pathname;
const args = [vitest, 'run', '--project', 'unit', 'test/simulator/seeds.test.ts'];
const env = { ...process.env, LOCKSTEP_SIMULATOR_SEEDS: range };
process.exit(spawnSync(process.execPath, args, { stdio: 'inherit', env }).status ?? 1);
