// Text for people. That of others on its way to a terminal: names of columns, files and workers, what
// peers and services say; a control character in it could recolour, hide or overwrite what we say, or send
// keys to the shell. And numbers and durations in words and digits.

/**
 * Controls, and what is invisible or reorders the line: escape and its kin, bidirectional marks,
 * line and paragraph separators, zero-width characters, and noncharacters, which no XML may hold.
 * Not our own line feeds; nor the joiners and tags that scripts and emoji are spelt with, or the
 * signs that Arabic and Kaithi put around numbers, which are visible.
 */
const UNPRINTABLE =
  /(?!\n|\u200c|\u200d|[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u{110bd}\u{110cd}\u{e0020}-\u{e007f}])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{NChar}]/gu;

/**
 * The text with each such character as JSON escapes it, `\u001b`: so JSON stays JSON with the same
 * values. Every stream to people goes through here, and no other place has to think of it.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) =>
    Array.from(character.split(''), (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join(
      '',
    ),
  );
}

/**
 * The text as one word of a POSIX shell's command line, for commands that a message offers; no
 * option, should it begin with a hyphen.
 */
export function shellWord(text: string): string {
  const word = text.startsWith('-') ? `./${text}` : text;
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/**
 * The text with its further lines indented by four, so that none of them can pass for
 * the beginning of a message.
 */
export function indentFurther(text: string): string {
  return text.replace(/\n {0,4}(?=[^\n])/g, '\n    ');
}

/** A count with separators, such as `12,345`. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** Made at its first use: it takes longer than all else that `lockstep --version` does. */
let compact: Intl.NumberFormat | undefined;

/** A count for people who need no more of it than its size: `850`, `41k`, `1.2M`. */
export function formatSize(count: number): string {
  compact ??= new Intl.NumberFormat('en-US', { notation: 'compact' });
  return compact.format(count).replace('K', 'k');
}

/** A count with its noun, such as `1 worker`, `2 workers`. */
export function countOf(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** A number with four significant digits: `0.2134`, `23,457`, `1.200e-7`. */
export function formatMetric(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e12 || (size < 1e-4 && size > 0)) return value.toExponential(3);
  // From here on toPrecision would round up into an exponent.
  return size >= 9999.5 ? formatCount(value) : value.toPrecision(4);
}

/** A duration in words, such as `4.2 s`, `3 min 20 s`, `2 h 3 min`. */
export function formatDuration(seconds: number): string {
  if (seconds < 9.95) return `${Number(seconds.toFixed(seconds < 1 ? 2 : 1))} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A part of a line that is kept to a width. */
export interface LinePart {
  readonly text: string;
  /** A form for where there is less room. */
  readonly short?: string | undefined;
  /** Parts are left out in the order of this number, those with 0 before any is shortened; those without one stay. */
  readonly leaveOut?: number | undefined;
}

/** Joins the parts, and shortens or leaves out no more of them than the width demands. */
export function fitLine(parts: readonly LinePart[], width: number): string {
  const order = parts
    .filter(({ leaveOut }) => leaveOut !== undefined)
    .sort((a, b) => (a.leaveOut as number) - (b.leaveOut as number));
  const numFirst = order.filter(({ leaveOut }) => leaveOut === 0).length;
  for (let left = 0; ; left++) {
    const gone = order.slice(0, left);
    const kept = parts.filter((part) => !gone.includes(part));
    const long = kept.map(({ text }) => text).join('  ');
    if (long.length <= width) return long;
    const short = kept.map(({ text, short = text }) => short).join('  ');
    if ((short.length <= width && left >= numFirst) || left === order.length) return short;
  }
}
