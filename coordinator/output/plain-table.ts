// Tables for people, without lines and colours: they also go to files, and to terminals that want none.
import Table from 'cli-table3';

const EDGES = ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left'] as const;
const OTHERS = ['bottom-right', 'left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'] as const;
const NO_LINES = Object.fromEntries([...EDGES, ...OTHERS].map((place) => [place, '']));

/**
 * Lays cells out below their heads, `gap` spaces apart; no newline at the end. A head that begins with
 * `>` aligns its column to the right.
 */
export function plainTable(head: readonly string[], rows: readonly (readonly string[])[], gap = 2): string {
  const table = new Table({
    head: head.map((name) => name.replace(/^>/, '')),
    colAligns: head.map((name) => (name.startsWith('>') ? 'right' : 'left')),
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 },
    chars: { ...NO_LINES, middle: ' '.repeat(gap) },
  });
  table.push(...rows.map((row) => [...row]));
  return table.toString().replaceAll(/[ \t]+$/gm, '');
}
