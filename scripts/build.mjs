// Builds dist/, each part only when a source is newer: the kernels from assembly/, strict and fused;
// JavaScript and declarations, the entry for browsers as one file, and the config's schema for editors. A
// program rather than a line of shell, so that `npm install` works on every platform.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
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
/** The entry for browsers. */
const BROWSER_ENTRY = 'dist/api/predict.js';
/** The page that makes a tab a worker: its sources, what it takes from the dashboard's, and its folder in dist/. */
const JOIN = 'worker/browser';
const JOIN_FILES = [`${JOIN}/index.html`, `${JOIN}/join.css`, `${PAGE}/page.css`, `${PAGE}/icon.svg`];
const JOIN_SCRIPTS = ['page.js', 'tab.js'];
/** Stands for the modules and names of Node.js in a tab. */
const NODE = path.join(root, 'dist', JOIN, 'node.js');
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

/** Makes an entry of browsers one file, with the licences of what it then holds. */
async function bundle(input, target, plugins = []) {
  const { rolldown } = await import('rolldown');
  const sha256 = (target) =>
    createHash('sha256')
      .update(fs.readFileSync(path.join(root, `dist/kernels-${target}.wasm`)))
      .digest('hex');
  const hashes = Object.fromEntries(KERNEL_TARGETS.map((target) => [target, sha256(target)]));
  const build = await rolldown({
    cwd: root,
    input,
    plugins,
    platform: 'browser',
    transform: { define: { KERNELS_SHA256: JSON.stringify(hashes) } },
    // One is that a module of Node.js is imported, which a browser has not.
    onLog: (_level, { message }) => {
      throw new Error(message);
    },
  });
  const { output } = await build.generate({ minify: true });
  const [{ code, moduleIds }] = output;
  const packages = moduleIds.map(
    (id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id.replaceAll('\\', '/'))?.[0],
  );
  const licences = [...new Set(packages)].filter(Boolean).map((folder) => {
    const file = fs.readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
    return `${path.basename(folder)}\n\n${fs.readFileSync(path.join(folder, file), 'utf8')}`;
  });
  const end = licences.length > 0 ? `/*!\n${licences.join('\n')}*/\n` : '';
  fs.writeFileSync(path.join(root, target), code + end);
  fs.rmSync(path.join(root, `${target}.map`), { force: true });
}

/** Gives the sources of a worker what they take of Node.js; packages see a browser. */
const withoutNode = {
  name: 'without-node',
  resolveId: (name) => (name.startsWith('node:') ? NODE : null),
  transform(code, id) {
    if (id === NODE || !id.startsWith(path.join(root, 'dist'))) return null;
    const names = ['Buffer', 'process'].filter((name) => new RegExp(`\\b${name}\\.[a-z]`).test(code));
    return names.length === 0
      ? null
      : `import { ${names.join(', ')} } from ${JSON.stringify(NODE)};\n${code}`;
  },
};

/** Makes the page of tabs that are workers, and leaves nothing of it elsewhere in dist/. */
async function makeJoinPage() {
  const folder = path.join(root, 'dist', 'join');
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder);
  for (const name of JOIN_FILES)
    fs.copyFileSync(path.join(root, name), path.join(folder, path.basename(name)));
  for (const name of JOIN_SCRIPTS) await bundle(`dist/${JOIN}/${name}`, `dist/join/${name}`, [withoutNode]);
  fs.rmSync(path.join(root, 'dist', JOIN), { recursive: true });
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
  await bundle(BROWSER_ENTRY, BROWSER_ENTRY);
  await makeJoinPage();
  const { configSchema } = await import('../dist/src/config/schema.js');
  const jsonSchema = z.toJSONSchema(configSchema, { io: 'input' });
  const schema = path.join(root, 'dist', SCHEMA);
  fs.writeFileSync(schema, `${JSON.stringify(jsonSchema, null, 2)}\n`);
  // What changed meanwhile is newer.
  fs.utimesSync(schema, beganAt, beganAt);
}
