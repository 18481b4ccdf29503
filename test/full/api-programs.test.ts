// The programs in docs/api.md, which run and print what the page says.
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { ROOT } from '../helpers/cli.ts';
import { runProgram } from '../helpers/program.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

it('the programs in docs/api.md print what the page says', async () => {
  const page = fs.readFileSync(path.join(ROOT, 'docs/api.md'), 'utf8');
  const blocks = [...page.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code as string);
  expect(blocks).toHaveLength(11);
  const lines = (await runProgram(blocks.join('\n'), temporaryDirectory())).trimEnd().split('\n');
  const [stopped, own, point, classes, positions, ...others] = lines.slice(-13);
  const [fromRows, model, areas, isSame, newLoss, ...rest] = others;
  expect(lines.slice(0, 20).map((line) => Number(line.split(' ')[0]))).toEqual(
    [...Array(21).keys()].slice(1),
  );
  expect(stopped).toMatch(/^(\d+|not stopped)$/);
  expect(own).toBe('true');
  expect(point).toBe('inside');
  expect([classes, positions]).toEqual(['2', '10']);
  expect(fromRows).toBe('true');
  expect(model).toBe("areas [ 4 ] [ 'area' ]");
  const [box, roof] = (areas as string).split(' ').map(Number) as [number, number];
  expect(box).toBeGreaterThan(roof);
  expect(isSame).toBe('true');
  expect(Number(newLoss)).toBeLessThan(0.5);
  expect(rest).toEqual(['true 64', 'true', 'E_MODEL_NOT_FOUND checkpoint']);
});
