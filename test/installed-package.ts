// Packs the package, once for all files of a tier, and installs it in an empty project as its users do.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** What `npm pack` made. */
    readonly tarball: string;
    /** The project with the package in its `node_modules/`. */
    readonly project: string;
    /** What npm said when it installed the package. */
    readonly installOutput: string;
  }
}

export function setup({ provide }: TestProject): () => void {
  const project = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-installed-')));
  const npm = (args: string, cwd: string): string =>
    execFileSync('sh', ['-c', `npm ${args} 2>&1`], { cwd, encoding: 'utf8' });
  const root = path.resolve(import.meta.dirname, '..');
  // Built already, by the script that runs the tests.
  npm(`pack --ignore-scripts --pack-destination ${project}`, root);
  const tarball = path.join(project, fs.readdirSync(project).find((name) => name.endsWith('.tgz')) as string);
  fs.writeFileSync(path.join(project, 'package.json'), '{ "private": true, "type": "module" }\n');
  provide('installOutput', npm(`install --prefer-offline --no-audit --no-fund ${tarball}`, project));
  provide('tarball', tarball);
  provide('project', project);
  return () => fs.rmSync(project, { recursive: true });
}
