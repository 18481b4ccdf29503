// Draws Vega-Lite specifications as SVG and PNG. Loads Vega, some 100 MB once running: only the
// plot process may import this.
import { createRequire } from 'node:module';
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

/**
 * Fonts of our own, and none of the system's: slim containers have none, and text would silently be left
 * out; and a plot looks the same on every machine.
 */
const require = createRequire(import.meta.url);
const FONTS = {
  loadSystemFonts: false,
  fontFiles: ['DejaVuSans', 'DejaVuSans-Bold'].map((name) =>
    require.resolve(`dejavu-fonts-ttf/ttf/${name}.ttf`),
  ),
  defaultFontFamily: 'DejaVu Sans',
  sansSerifFamily: 'DejaVu Sans',
};

/** Draws an SVG document as a PNG. */
export function renderPng(svg: string): Uint8Array {
  return new Resvg(svg, { fitTo: { mode: 'zoom', value: PNG_ZOOM }, font: FONTS }).render().asPng();
}
