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

/** A duration in words, such as `4.2 s`, `1 m 05 s`, `2 h 03 m`. */
export function formatDuration(seconds: number): string {
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${twoDigits(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${twoDigits(minutes % 60)} m`;
}

/** A duration as a clock shows it, such as `0:04`, `1:05`, `2:03:00`. */
export function formatClock(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours > 0
    ? `${hours}:${twoDigits(minutes)}:${twoDigits(whole % 60)}`
    : `${minutes}:${twoDigits(whole % 60)}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}
