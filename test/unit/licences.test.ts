// The licences of what is installed with the package.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { ROOT } from '../helpers/cli.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

function listLicences(...args: readonly string[]): { status: number | null; stderr: string } {
  const program = path.join(ROOT, 'scripts/list-licences.mjs');
  const { status, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
  return { status, stderr };
}

it('docs/licences.md lists the licences of all packages that are installed, and all are allowed', () => {
  expect(listLicences('--check')).toEqual({ status: 0, stderr: '' });
});

it('a licence that is not allowed is refused, and so is none', () => {
  const folder = temporaryDirectory();
  const packages = {
    '': { license: 'MIT' },
    'node_modules/free': { version: '1.0.0', license: 'MIT' },
    'node_modules/free/node_modules/strict': { version: '2.0.0', license: 'GPL-3.0' },
    'node_modules/silent': { version: '3.0.0' },
    'node_modules/tool': { version: '4.0.0', license: 'GPL-3.0', dev: true },
  };
  fs.writeFileSync(path.join(folder, 'package-lock.json'), JSON.stringify({ packages }));
  fs.mkdirSync(path.join(folder, 'docs'));
  expect(listLicences(folder)).toEqual({
    status: 1,
    stderr:
      'strict 2.0.0: the licence is not allowed: GPL-3.0\n' +
      'silent 3.0.0: the licence is not allowed: none named\n',
  });
});
