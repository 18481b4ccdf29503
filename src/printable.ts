// Text of others on its way to a terminal: names of columns, files and workers, what peers and services say. A control
// character in it could recolour, hide or overwrite what we say, or send keys to the shell.

/**
 * Controls, and what is invisible or reorders the line: escape and its kin, bidirectional marks, line and paragraph
 * separators, zero-width characters, and noncharacters, which no XML may hold. Not our own line feeds; nor the joiners and tags that scripts and emoji are spelt
 * with, or the signs that Arabic and Kaithi put around numbers, which are visible.
 */
const UNPRINTABLE =
  /(?!\n|\u200c|\u200d|[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u{110bd}\u{110cd}\u{e0020}-\u{e007f}])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{NChar}]/gu;

/**
 * The text with each such character as JSON escapes it, `\u001b`: so JSON stays JSON with the same values. Every stream
 * to people goes through here, and no other place has to think of it.
 */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) =>
    Array.from(character.split(''), (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join(
      '',
    ),
  );
}

/** The text as one word of a POSIX shell's command line, for commands that a message offers; no option, should it begin with a hyphen. */
export function shellWord(text: string): string {
  const word = text.startsWith('-') ? `./${text}` : text;
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** The text with its further lines indented by four, so that none of them can pass for the beginning of a message. */
export function indentFurther(text: string): string {
  return text.replace(/\n {0,4}(?=[^\n])/g, '\n    ');
}
