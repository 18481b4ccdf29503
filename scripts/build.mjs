// Builds dist/: the kernels from assembly/, strict and fused (only when a source is newer),
// JavaScript and declarations, and the config's schema for editors. A program rather than a line of
// shell, so that `npm install` works on every platform.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const root = fileURLToPath(new URL('..', import.meta.url));
const KERNEL_TARGETS = ['strict', 'fused'];
const KERNEL_SOURCES = ['assembly', 'asconfig.json', 'package-lock.json'];
const TYPESCRIPT_OUTPUTS = ['src', 'coordinator', 'worker', 'aggregator', 'bin', 'api', 'bench'];

function run(program, ...args) {
  const { status, error } = spawnSync(process.execPath, [path.join(root, 'node_modules', program), ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

function newestChange(name) {
  const file = path.join(root, name);
  if (!fs.existsSync(file)) return 0;
  const { mtimeMs } = fs.statSync(file);
  if (!fs.statSync(file).isDirectory()) return mtimeMs;
  return Math.max(mtimeMs, ...fs.readdirSync(file).map((entry) => newestChange(path.join(name, entry))));
}

const changedMs = Math.max(...KERNEL_SOURCES.map(newestChange));
for (const target of KERNEL_TARGETS) {
  const product = path.join(root, 'dist', `kernels-${target}.wasm`);
  const builtMs = fs.existsSync(product) ? fs.statSync(product).mtimeMs : 0;
  if (changedMs > builtMs) run('assemblyscript/bin/asc.js', 'assembly/index.ts', '--target', target);
}
if (!process.argv.includes('--kernels-only')) {
  // A file that was renamed must not live on in dist/.
  for (const folder of TYPESCRIPT_OUTPUTS)
    fs.rmSync(path.join(root, 'dist', folder), { recursive: true, force: true });
  run('typescript7/bin/tsc', '-p', 'tsconfig.build.json');
  fs.chmodSync(path.join(root, 'dist', 'bin', 'lockstep.js'), 0o755);
  const { configSchema } = await import('../dist/src/config/schema.js');
  const jsonSchema = z.toJSONSchema(configSchema, { io: 'input' });
  fs.writeFileSync(path.join(root, 'dist', 'config.schema.json'), `${JSON.stringify(jsonSchema, null, 2)}\n`);
}
