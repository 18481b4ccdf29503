// Numbers and durations in words and digits for people.

/** A count with separators, such as `12,345`. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
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
  const two = (value: number): string => String(value).padStart(2, '0');
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} m`;
}

/** A duration as a clock shows it, such as `0:04`, `1:05`, `2:03:00`. */
export function formatClock(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** A count with its noun, such as `1 worker`, `2 workers`. */
export function pluralize(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}
