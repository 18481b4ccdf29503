// The roster: a worker that comes back replaces itself, and addresses whose workers keep vanishing have to wait.
import { describe, expect, it, vi } from 'vitest';
import { Roster } from '../../coordinator/roster.ts';
import type { RosterSession } from '../../coordinator/roster.ts';
import { createLogger } from '../../src/log.ts';

const LOST = { reason: 'connection closed (code 1006)', wasReady: true, isPolite: false };

interface Session extends RosterSession {
  hasAnswered: boolean;
}

function openRoster() {
  const told: string[] = [];
  const roster = new Roster<Session>({
    log: createLogger({ level: 'silent' }),
    onJoin: ({ id }) => told.push(`join ${id}`),
    onLeave: ({ id }, { reason }) => told.push(`leave ${id}: ${reason}`),
  });
  let id = 0;
  const session = (instance: string, remoteAddress = '10.0.0.1'): Session => {
    const own = ++id;
    const evict = (code: number, reason: string): void => void told.push(`evict ${own}: ${code} ${reason}`);
    return { id: own, name: `worker ${own}`, threads: 1, instance, remoteAddress, hasAnswered: false, evict };
  };
  return { roster, told, session };
}

/** A worker that joins and vanishes at once. */
function visit({ roster, session }: ReturnType<typeof openRoster>, nowMs: number): Session {
  const visitor = session(`visitor ${nowMs}`);
  roster.ready(visitor, nowMs);
  roster.gone(visitor, LOST, nowMs);
  return visitor;
}

describe('a roster', () => {
  it('closes the earlier session of a worker that comes back, and keeps the later one', () => {
    const { roster, told, session } = openRoster();
    const [old, back] = [session('a'), session('a')];
    roster.ready(old, 0);
    roster.ready(back, 1);
    roster.gone(old, { ...LOST, reason: 'superseded' }, 2);
    const again = session('a');
    roster.ready(again, 3);
    expect(told).toEqual([
      'join 1',
      'evict 1: 4404 superseded session: the worker has come back',
      'join 2',
      'leave 1: superseded',
      'evict 2: 4404 superseded session: the worker has come back',
      'join 3',
    ]);
  });

  it('makes the fourth worker of an address wait where three have vanished without an answer, and ever longer', () => {
    vi.useFakeTimers();
    const open = openRoster();
    const { roster, told, session } = open;
    roster.ready(session('steady', '10.0.0.2'), 0);
    for (const nowMs of [1, 2, 3]) visit(open, nowMs);
    told.length = 0;
    const fourth = session('fourth');
    roster.ready(fourth, 4);
    vi.advanceTimersByTime(999);
    expect(told).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(told).toEqual([`join ${fourth.id}`]);
    roster.gone(fourth, LOST, 5);
    const fifth = session('fifth');
    roster.ready(fifth, 6);
    vi.advanceTimersByTime(1999);
    expect(told).not.toContain(`join ${fifth.id}`);
    vi.advanceTimersByTime(1);
    expect(told).toContain(`join ${fifth.id}`);
    const elsewhere = session('elsewhere', '10.0.0.3');
    roster.ready(elsewhere, 7);
    expect(told).toContain(`join ${elsewhere.id}`);
    vi.useRealTimers();
  });

  it('never waits for longer than 30 s, and forgets after a minute', () => {
    vi.useFakeTimers();
    const open = openRoster();
    const { roster, told, session } = open;
    roster.ready(session('steady', '10.0.0.2'), 0);
    for (let count = 0; count < 40; count++) visit(open, count);
    const waiting = session('waiting');
    roster.ready(waiting, 40);
    vi.advanceTimersByTime(30_000);
    expect(told).toContain(`join ${waiting.id}`);
    const later = session('later');
    roster.ready(later, 60_100);
    expect(told).toContain(`join ${later.id}`);
    vi.useRealTimers();
  });

  it('makes nobody wait who is the only one, or becomes it', () => {
    const open = openRoster();
    const { roster, told, session } = open;
    const steady = session('steady', '10.0.0.2');
    roster.ready(steady, 0);
    for (const nowMs of [1, 2, 3]) visit(open, nowMs);
    const waiting = session('waiting');
    roster.ready(waiting, 4);
    expect(told).not.toContain(`join ${waiting.id}`);
    roster.gone(steady, { ...LOST, isPolite: true }, 5);
    expect(told).toContain(`join ${waiting.id}`);
    roster.gone(waiting, LOST, 6);
    const alone = session('alone');
    roster.ready(alone, 7);
    expect(told).toContain(`join ${alone.id}`);
  });

  it('holds nothing against workers that have answered, or said goodbye', () => {
    const open = openRoster();
    const { roster, told, session } = open;
    roster.ready(session('steady', '10.0.0.2'), 0);
    for (let count = 1; count <= 6; count++) {
      const worker = session(`worker ${count}`);
      worker.hasAnswered = count % 2 === 0;
      roster.ready(worker, count);
      roster.gone(worker, { ...LOST, isPolite: count % 2 !== 0 }, count);
    }
    const next = session('next');
    roster.ready(next, 7);
    expect(told.at(-1)).toBe(`join ${next.id}`);
  });
});
