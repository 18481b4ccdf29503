// Builds dist/: the kernels from assembly/ (only when a source is newer), then JavaScript and declarations.
// A program of its own rather than a line of shell, so that `npm install` works on every platform.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const KERNELS = path.join(root, 'dist', 'kernels.wasm');
const KERNEL_SOURCES = ['assembly', 'asconfig.json', 'package-lock.json'];
const TYPESCRIPT_OUTPUTS = ['src', 'coordinator', 'worker', 'bin', 'api', 'bench'];

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

const builtMs = fs.existsSync(KERNELS) ? fs.statSync(KERNELS).mtimeMs : 0;
if (Math.max(...KERNEL_SOURCES.map(newestChange)) > builtMs) {
  run('assemblyscript/bin/asc.js', 'assembly/index.ts', '--target', 'strict');
}
if (!process.argv.includes('--kernels-only')) {
  // A file that was renamed must not live on in dist/.
  for (const folder of TYPESCRIPT_OUTPUTS)
    fs.rmSync(path.join(root, 'dist', folder), { recursive: true, force: true });
  run('typescript7/bin/tsc', '-p', 'tsconfig.build.json');
  fs.chmodSync(path.join(root, 'dist', 'bin', 'lockstep.js'), 0o755);
}
