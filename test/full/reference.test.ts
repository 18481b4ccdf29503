// docs/reference is what typedoc writes from the sources: reading all types takes longer than `npm test` may.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { ROOT } from '../helpers/cli.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

/** The pages below a folder, by name. */
function pagesIn(folder: string): Record<string, string> {
  const names = fs.readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const pages = names.filter((name) => name.endsWith('.md')).sort();
  return Object.fromEntries(pages.map((name) => [name, fs.readFileSync(path.join(folder, name), 'utf8')]));
}

it(
  'docs/reference describes everything that the package exports, as npm run reference writes it',
  { timeout: 180_000 },
  async () => {
    const folder = temporaryDirectory();
    const program = path.join(ROOT, 'node_modules/typedoc/bin/typedoc');
    // Fails on an export, a field or a parameter of a type without a description, and on broken links.
    await promisify(execFile)(process.execPath, [program, '--out', folder], { cwd: ROOT });
    const pages = pagesIn(folder);
    expect(Object.keys(pages)).toEqual([
      'README.md',
      'lockstep.md',
      'lockstep/engine.md',
      'lockstep/predict.md',
    ]);
    expect(pagesIn(path.join(ROOT, 'docs/reference'))).toEqual(pages);
  },
);
