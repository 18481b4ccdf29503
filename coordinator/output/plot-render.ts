// Draws Vega-Lite specifications as SVG and PNG. Loads Vega, some 100 MB once running: only the plot process may
// import this.
import { Resvg } from '@resvg/resvg-js';
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';

/** Pixels per unit, so that text stays sharp on dense screens. */
const PNG_ZOOM = 2;

/** Draws a specification as an SVG document. */
export async function renderSvg(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile(spec).spec), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** Draws an SVG document as a PNG. Text needs a font of the system: ask `hasFonts` first. */
export function renderPng(svg: string): Uint8Array {
  return new Resvg(svg, { fitTo: { mode: 'zoom', value: PNG_ZOOM } }).render().asPng();
}

/** Whether text can be drawn: without any font, as in slim containers, it would silently be left out. */
export function hasFonts(options: { loadSystemFonts: boolean } = { loadSystemFonts: true }): boolean {
  const text = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><text y="15">x</text></svg>';
  return new Resvg(text, { font: options }).getBBox() !== undefined;
}
