// Spans of time in what a thread computes. Nothing is recorded unless trace-file.ts has set a recorder;
// without one a span costs a comparison.

/** Takes a span when it has ended: its name, and its times in milliseconds by `performance.now()`. */
type Recorder = (name: string, startedMs: number, endedMs: number) => void;

let recorder: Recorder | undefined;

const ignore = (): void => undefined;

/** Begins a span of this thread; returns the function that ends it. */
export function span(name: string | undefined): () => void {
  if (recorder === undefined || name === undefined) return ignore;
  const startedMs = performance.now();
  return () => recorder?.(name, startedMs, performance.now());
}

/** Has all spans from now on recorded. */
export function recordSpans(record: Recorder): void {
  recorder = record;
}
