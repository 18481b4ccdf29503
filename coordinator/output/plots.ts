// Draws the plots of a run into a directory: <name>.vl.json, <name>.svg and <name>.png each.
// A plot is never worth a run: whatever fails here is a warning.
import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeDirectory } from '../../src/make-directory.ts';
import { printable } from '../../src/printable.ts';
import { plotName, type PlotInput } from './plot-input.ts';
import { plotSpec } from './plot-specs.ts';

/** How plots are drawn. */
export interface RenderOptions {
  readonly warn: (message: string) => void;
  /** Default 60 s; then the process that draws is killed. */
  readonly deadlineMs?: number | undefined;
  /** The program that draws; default: the built one beside this file. */
  readonly program?: string | undefined;
}

/** Writes the specifications, and has another process draw them, for the sake of this one's memory. */
export async function renderPlots(
  directory: string,
  plots: readonly PlotInput[],
  options: RenderOptions,
): Promise<void> {
  const {
    warn,
    deadlineMs = 60_000,
    program = fileURLToPath(new URL('./plot-process.js', import.meta.url)),
  } = options;
  try {
    await makeDirectory(directory);
    for (const plot of plots) {
      await fs.writeFile(path.join(directory, `${plotName(plot)}.vl.json`), specText(plot));
    }
    const complaints = await runProgram(program, [directory, ...plots.map(plotName)], deadlineMs);
    if (complaints) warn(`plots: ${complaints}`);
  } catch (error) {
    warn(`plots: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/**
 * Drawn letter by letter, escapes included: a plot is no data, and SVG cannot hold most control characters. Line feeds too
 * are shown, as in `price↵(USD)`: Excel makes headers of several lines.
 */
export function specText(plot: PlotInput): string {
  return JSON.stringify(plotSpec(plot), (_key, value: unknown) =>
    typeof value === 'string' ? printable(value).replaceAll('\n', '↵') : value,
  );
}

/** Resolves with what the program has to say on stderr: empty if all went well. */
function runProgram(program: string, args: readonly string[], deadlineMs: number): Promise<string> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [program, ...args],
      { timeout: deadlineMs, killSignal: 'SIGKILL' },
      (error, _stdout, stderr) => {
        if (error?.killed) resolve(`not drawn within ${deadlineMs / 1000} s`);
        else resolve(stderr.trim() || (error?.message ?? ''));
      },
    );
  });
}
