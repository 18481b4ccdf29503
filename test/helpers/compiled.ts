// Runs a source file of the project in a separate process or thread, where vitest's loader does not reach
// and Node 20 reads no TypeScript: compiles files of one folder, types merely removed, to a temporary
// folder.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import ts from 'typescript';

const ROOT = path.resolve(import.meta.dirname, '../..');

export interface Compiled {
  readonly directory: string;
  remove(): void;
}

/** Compiles the files; with `withPackages: false` they can import only Node's own modules. */
export function compileFiles(files: readonly string[], options: { withPackages: boolean }): Compiled {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-compiled-'));
  for (const file of files) {
    const { outputText } = ts.transpileModule(fs.readFileSync(path.join(ROOT, file), 'utf8'), {
      compilerOptions: {
        target: ts.ScriptTarget.ES2023,
        module: ts.ModuleKind.ESNext,
        rewriteRelativeImportExtensions: true,
        verbatimModuleSyntax: true,
      },
    });
    fs.writeFileSync(path.join(directory, `${path.basename(file, '.ts')}.js`), outputText);
  }
  const packageJson = { type: 'module', imports: { '#fonts/*': './fonts/*' } };
  fs.writeFileSync(path.join(directory, 'package.json'), JSON.stringify(packageJson));
  if (options.withPackages) {
    fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(directory, 'node_modules'), 'dir');
    fs.symlinkSync(path.join(ROOT, 'dist/fonts'), path.join(directory, 'fonts'), 'dir');
  }
  return { directory, remove: () => fs.rmSync(directory, { recursive: true, force: true }) };
}
