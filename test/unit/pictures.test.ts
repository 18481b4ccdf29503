// The pictures of the documentation are those that their script draws.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { ROOT } from '../helpers/cli.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const PICTURES = path.join(ROOT, 'docs/pictures');

function drawPictures(): string {
  const directory = temporaryDirectory();
  execFileSync(process.execPath, [path.join(ROOT, 'scripts/draw-pictures.mjs'), directory]);
  return directory;
}

it('scripts/draw-pictures.mjs draws exactly the pictures in docs/pictures/', () => {
  const drawn = drawPictures();
  const names = fs.readdirSync(PICTURES).filter((name) => name.endsWith('.svg'));
  expect(fs.readdirSync(drawn)).toEqual(names);
  expect(names.length).toBeGreaterThan(0);
  for (const name of names) {
    const committed = fs.readFileSync(path.join(PICTURES, name), 'utf8');
    expect(fs.readFileSync(path.join(drawn, name), 'utf8'), name).toBe(committed);
  }
});
