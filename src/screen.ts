// What people watch: stderr, with a progress bar below the lines. The log is in log.ts, whose library
// `lockstep --version` need not load.
import { stripVTControlCharacters } from 'node:util';
import { printable } from './printable.ts';

/** The destination of text for people: `process.stderr`, or a stand-in. */
export interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  /** Width in characters, of a terminal. */
  readonly columns?: number | undefined;
  /** Bytes that wait for the reader: writing to a pipe does not wait. */
  readonly writableLength?: number | undefined;
}

/** More does not wait for a reader of stderr: some 10,000 lines. */
const MAX_UNREAD_BYTES = 2 ** 20;

const CLEAR_LINE = '\r\x1b[K';

/**
 * The terminal that log lines and a progress bar share. A bar is the last, unfinished line: `write` clears it
 * first, and the bar draws itself again at its next tick.
 */
export class Screen {
  readonly #stream: TextStream;
  #hasStatusLine = false;
  #numLinesLost = 0;

  constructor(stream: TextStream = survivingStderr()) {
    this.#stream = stream;
  }

  get isTTY(): boolean {
    return this.#stream.isTTY === true;
  }

  /** Width of lines: that of the terminal; 80 where there is none, or it does not know. */
  get columns(): number {
    return this.#stream.columns || 80;
  }

  /** True for a terminal that somebody watches: in CI every state of a bar would stay as a line. */
  get canRedraw(): boolean {
    return this.isTTY && !process.env['CI'] && process.env['TERM'] !== 'dumb';
  }

  /** Tells whether escape codes for colour are wanted: on a terminal, unless `NO_COLOR` is set. */
  get hasColors(): boolean {
    return this.isTTY && !process.env['NO_COLOR'];
  }

  /** Writes whole lines; control characters in them are shown as escapes. */
  write(text: string): void {
    this.writeStyled(printable(text));
  }

  /**
   * Writes lines that are printable except for styles of our own; counts them while too
   * much waits for a reader.
   */
  writeStyled(text: string): void {
    if ((this.#stream.writableLength ?? 0) > MAX_UNREAD_BYTES) {
      this.#numLinesLost += text.split('\n').length - 1;
      return;
    }
    this.clearStatus();
    if (this.#numLinesLost > 0)
      this.#stream.write(`${this.#numLinesLost} lines are missing here: stderr was not read\n`);
    this.#numLinesLost = 0;
    this.#stream.write(text);
  }

  /** Replaces the unfinished last line; for terminals only. */
  drawStatus(text: string): void {
    this.#hasStatusLine = true;
    this.#stream.write(`${CLEAR_LINE}${printable(text)}`);
  }

  clearStatus(): void {
    if (!this.#hasStatusLine) return;
    this.#hasStatusLine = false;
    this.#stream.write(CLEAR_LINE);
  }
}

/** stderr whose reader may leave (`2>&1 | head`): without a listener its EPIPE would end the run. */
function survivingStderr(): TextStream {
  if (process.stderr.listenerCount('error') === 0) process.stderr.on('error', () => undefined);
  return process.stderr;
}

/**
 * Breaks lines that are longer than the width at spaces, and indents what follows by four. A word
 * that is longer than a line stays whole; styles take no room.
 */
export function wrapLines(text: string, width: number): string {
  return text
    .split('\n')
    .map((line) => (lengthOf(line) > width ? wrapLine(line, width) : line))
    .join('\n');
}

function wrapLine(line: string, width: number): string {
  const lines: string[] = [];
  const [first = '', ...words] = line.split(' ');
  let current = first;
  for (const word of words) {
    const longer = `${current} ${word}`;
    if (lengthOf(longer) > width && current.trim() !== '') {
      lines.push(current);
      current = `    ${word}`;
    } else current = longer;
  }
  return [...lines, current].join('\n');
}

function lengthOf(line: string): number {
  return stripVTControlCharacters(line).length;
}
