// The look that all plots share, legible at 800 pixels.
import type { TopLevelSpec } from 'vega-lite';

export const BLUE = '#2f6db3';
export const ORANGE = '#d9701e';
export const GREY = '#6b7280';

/** Fonts that Linux, macOS and Windows have; the picture's renderer takes the first that exists. */
const FONT = 'DejaVu Sans, Liberation Sans, Helvetica, Arial, sans-serif';

/** The fields that every specification begins with. */
export const BASE = {
  $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
  background: 'white',
  padding: 16,
  config: {
    font: FONT,
    view: { stroke: '#9ca3af' },
    title: {
      fontSize: 17,
      anchor: 'start',
      subtitleFontSize: 13,
      subtitleColor: GREY,
      offset: 14,
      subtitlePadding: 5,
    },
    axis: {
      labelFontSize: 13,
      labelFlush: false,
      titleFontSize: 14,
      titleFontWeight: 'normal',
      titlePadding: 10,
      gridColor: '#e5e7eb',
      labelColor: '#374151',
    },
    legend: { labelFontSize: 13, titleFontSize: 13, titleFontWeight: 'normal', symbolStrokeWidth: 3 },
  },
} as const satisfies Partial<TopLevelSpec>;
