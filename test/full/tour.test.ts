// docs/tour.md, run as it stands there by a user who has just installed the package.
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, inject, it } from 'vitest';
import { ROOT } from '../helpers/cli.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const DEADLINE_MS = 600_000;

/** What `shown` stands for: `...` is any text, and on a line of its own any lines. */
function asPattern(shown: string): RegExp {
  const escaped = shown.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const lines = escaped.replace(/^\\\.\\\.\\\.\n/gm, '(?:.*\\n)*?').replaceAll('\\.\\.\\.', '.*');
  return new RegExp(`^${lines}$`);
}

/** Makes a folder of packages with what the user has installed: ours, and the one that the page names. */
function linkPackages(folder: string): void {
  const installed = path.join(inject('project'), 'node_modules');
  fs.mkdirSync(folder);
  for (const name of fs.readdirSync(installed)) {
    fs.symlinkSync(path.join(installed, name), path.join(folder, name), 'dir');
  }
  fs.symlinkSync(
    path.join(ROOT, 'node_modules/onnxruntime-web'),
    path.join(folder, 'onnxruntime-web'),
    'dir',
  );
}

it(
  'the commands of docs/tour.md print what the page says, to the last bit of a prediction, by ONNX Runtime too',
  { timeout: DEADLINE_MS },
  async () => {
    const cwd = temporaryDirectory();
    linkPackages(path.join(cwd, 'node_modules'));
    const page = fs.readFileSync(path.join(ROOT, 'docs/tour.md'), 'utf8');
    const blocks = [...page.matchAll(/^```sh\n(.*?)^```\n\n```text\n(.*?)^```\n/gms)];
    expect(blocks).toHaveLength(page.match(/^```\w/gm)!.length / 2);
    const env = { PATH: process.env['PATH'], HOME: cwd, NO_COLOR: '1', npm_config_update_notifier: 'false' };
    for (const [, commands = '', shown = ''] of blocks) {
      const args = ['-ec', `exec 2>&1\n${commands}`];
      const { stdout } = await promisify(execFile)('sh', args, { cwd, env, timeout: DEADLINE_MS });
      expect(stdout, commands).toMatch(asPattern(shown));
    }
  },
);
