// Draws Vega-Lite specifications as SVG and PNG. Loads Vega, some 100 MB once running: only the plot
// process and commands that draw and end may import this.
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

const require = createRequire(import.meta.url);
/** A font of our own: slim containers have none, and a plot looks the same on every machine. */
const OWN_FONT = {
  loadSystemFonts: false,
  fontFiles: ['DejaVuSans', 'DejaVuSans-Bold'].map((name) => require.resolve(`#fonts/${name}.ttf`)),
  defaultFontFamily: 'DejaVu Sans',
  sansSerifFamily: 'DejaVu Sans',
};
/** Our own, and for what it lacks, such as Chinese, those of the system. Finding them takes a while. */
const ALL_FONTS = { ...OWN_FONT, loadSystemFonts: true };
type Fonts = typeof OWN_FONT;

/** Other characters than those of western languages that are looked for in fonts, at most. */
const MAX_LOOKED_FOR = 1000;

/** Draws an SVG document as a PNG: with our own font and, for characters that it lacks, with the system's. */
export function renderPng(svg: string): Uint8Array {
  return draw(svg, missingCharacters(svg, OWN_FONT).size === 0 ? OWN_FONT : ALL_FONTS, PNG_ZOOM);
}

/**
 * The specification with characters that no font of this machine has as escapes, such as `\u5b57`: a
 * PNG would show empty boxes. An SVG is shown by whoever opens it, with fonts of its own.
 */
export function showable(spec: TopLevelSpec): TopLevelSpec {
  const lacking = missingCharacters(JSON.stringify(spec), OWN_FONT);
  const nowhere = lacking.size === 0 ? lacking : missingCharacters([...lacking].join(''), ALL_FONTS);
  if (nowhere.size === 0) return spec;
  const escaped = JSON.stringify(spec, (_key, value: unknown) =>
    typeof value === 'string' ? escapeCharacters(value, nowhere) : value,
  );
  return JSON.parse(escaped) as TopLevelSpec;
}

function draw(svg: string, font: Fonts, zoom: number): Uint8Array {
  return new Resvg(svg, { fitTo: { mode: 'zoom', value: zoom }, font }).render().asPng();
}

/** Characters of a text beyond Latin, Greek and Cyrillic for which the fonts have no picture. */
function missingCharacters(text: string, fonts: Fonts): Set<string> {
  const characters = [...new Set(text.match(/[^\p{ASCII}\u0080-\u04ff\p{Mark}\p{Cf}]/gu))].slice(
    0,
    MAX_LOOKED_FOR,
  );
  if (characters.length === 0) return new Set();
  const drawAlone = (character: string): string =>
    Buffer.from(
      draw(
        `<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24"><text y="18">${character}</text></svg>`,
        fonts,
        1,
      ),
    ).toString('base64');
  // A character of a private plane, which no font has.
  const box = drawAlone('\u{10fffd}');
  const nothing = drawAlone('');
  return new Set(
    characters.filter((character) => {
      const drawn = drawAlone(character);
      return drawn === box || (drawn === nothing && !/\s/u.test(character));
    }),
  );
}

function escapeCharacters(text: string, characters: ReadonlySet<string>): string {
  return Array.from(text, (character) =>
    characters.has(character)
      ? Array.from(
          character.split(''),
          (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
        ).join('')
      : character,
  ).join('');
}
