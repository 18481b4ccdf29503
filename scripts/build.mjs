// Builds dist/, each part only when a source is newer: the kernels from assembly/, strict and fused;
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
const TYPESCRIPT_FOLDERS = ['src', 'coordinator', 'worker', 'aggregator', 'bin', 'api', 'bench'];
const TYPESCRIPT_SOURCES = [
  ...TYPESCRIPT_FOLDERS,
  'dist/kernels-strict.d.ts',
  'package.json',
  'package-lock.json',
  'scripts/build.mjs',
  'tsconfig.json',
  'tsconfig.build.json',
];
/** The dashboard's page, whose files that are no TypeScript are copied. */
const PAGE = 'coordinator/dashboard/page';
/** The fonts of plots as PNG, copied: the package they come from is ten times as large. */
const FONTS = ['ttf/DejaVuSans.ttf', 'ttf/DejaVuSans-Bold.ttf', 'LICENSE'];
/** Made last, so that its time is that of all. */
const SCHEMA = 'config.schema.json';

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

/** Tells whether a product in dist/ is older than any of its sources, or missing. */
function isStale(product, sources) {
  return newestChange(path.join('dist', product)) < Math.max(...sources.map(newestChange));
}

for (const target of KERNEL_TARGETS) {
  if (!isStale(`kernels-${target}.wasm`, KERNEL_SOURCES)) continue;
  run('assemblyscript/bin/asc.js', 'assembly/index.ts', '--target', target);
}
if (!process.argv.includes('--kernels-only') && isStale(SCHEMA, TYPESCRIPT_SOURCES)) {
  const beganAt = new Date();
  // A file that was renamed must not live on in dist/.
  for (const name of [SCHEMA, ...TYPESCRIPT_FOLDERS])
    fs.rmSync(path.join(root, 'dist', name), { recursive: true, force: true });
  run('typescript7/bin/tsc', '-p', 'tsconfig.build.json');
  for (const name of fs.readdirSync(path.join(root, PAGE)).filter((name) => /\.(html|css|svg)$/.test(name)))
    fs.copyFileSync(path.join(root, PAGE, name), path.join(root, 'dist', PAGE, name));
  fs.mkdirSync(path.join(root, 'dist', 'fonts'), { recursive: true });
  for (const name of FONTS) {
    const copy = path.join(root, 'dist', 'fonts', path.basename(name));
    fs.copyFileSync(path.join(root, 'node_modules/dejavu-fonts-ttf', name), copy);
  }
  fs.chmodSync(path.join(root, 'dist', 'bin', 'lockstep.js'), 0o755);
  const { configSchema } = await import('../dist/src/config/schema.js');
  const jsonSchema = z.toJSONSchema(configSchema, { io: 'input' });
  const schema = path.join(root, 'dist', SCHEMA);
  fs.writeFileSync(schema, `${JSON.stringify(jsonSchema, null, 2)}\n`);
  // What changed meanwhile is newer.
  fs.utimesSync(schema, beganAt, beganAt);
}
