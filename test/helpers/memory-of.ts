// Memory of another process, from /proc (Linux only).
import fs from 'node:fs';

/** Resident memory of a process in MB: now, or at most so far. */
export function residentMegabytes(pid: number, which: 'now' | 'peak'): number {
  const field = which === 'now' ? 'VmRSS' : 'VmHWM';
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  const kilobytes = Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]);
  return kilobytes / 1024;
}
