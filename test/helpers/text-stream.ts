// A stand-in for a terminal: records the output and shows the screen that a person would see.
import type { TextStream } from '../../src/screen.ts';

export class FakeTerminal implements TextStream {
  readonly isTTY: boolean;
  readonly columns: number;
  written = '';
  /** Number of bytes that have not been read. */
  writableLength = 0;

  constructor(options: { isTTY: boolean; columns?: number }) {
    this.isTTY = options.isTTY;
    this.columns = options.columns ?? 100;
  }

  write(text: string): void {
    this.written += text;
  }

  /** The lines on screen; understands "back to the start of the line and clear it", and no other code. */
  get lines(): string[] {
    const shown = this.written.split('\n').map((line) => line.split('\r\x1b[K').at(-1) ?? '');
    return shown.at(-1) === '' ? shown.slice(0, -1) : shown;
  }
}
