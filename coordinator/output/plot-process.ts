// The process that draws a run's plots: argv is a directory and the names of its <name>.vl.json
// specifications. A process of its own, because Vega would stay in the coordinator's memory.
// Complaints go to stderr.
import fs from 'node:fs/promises';
import path from 'node:path';
import type { TopLevelSpec } from 'vega-lite';
import { renderPng, renderSvg, showable } from './plot-render.ts';

const [directory = '.', ...names] = process.argv.slice(2);

for (const name of names) {
  try {
    const spec = JSON.parse(
      await fs.readFile(path.join(directory, `${name}.vl.json`), 'utf8'),
    ) as TopLevelSpec;
    const svg = await renderSvg(spec);
    await fs.writeFile(path.join(directory, `${name}.svg`), svg);
    const shown = showable(spec);
    const png = renderPng(shown === spec ? svg : await renderSvg(shown));
    await fs.writeFile(path.join(directory, `${name}.png`), png);
  } catch (error) {
    console.error(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
