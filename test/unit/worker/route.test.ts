import { describe, expect, it } from 'vitest';
import { LockstepError } from '../../../src/errors.ts';
import { ConnectError } from '../../../worker/connect-failure.ts';
import { Route } from '../../../worker/route.ts';
import type { SessionEnd } from '../../../worker/session.ts';

const HOME = 'ws://home:1';
const failure = (code: 'E_COORDINATOR_BUSY' | 'E_CONNECTION_REFUSED', isRetryable = true): ConnectError =>
  new ConnectError({ code, message: 'no' }, { isRetryable });

function end(kind: SessionEnd['kind'], reason = '', tasksDone = 0): SessionEnd {
  const url = kind === 'redirected' ? reason : undefined;
  return { kind, reason, url, tasksDone, replica: undefined };
}

/** A route that leads to an aggregator. */
function sentOn(): Route {
  const route = new Route([HOME]);
  route.follow(end('redirected', 'ws://there:2'));
  return route;
}

describe('the route of a worker', () => {
  it('a redirect leads on, and the end of a session there back, with its address if nothing was computed', () => {
    const route = sentOn();
    expect([route.url, route.isSentOn]).toEqual(['ws://there:2', true]);
    route.follow(end('lost', 'gone', 3));
    expect([route.url, route.unreachable]).toEqual([HOME, undefined]);
    route.follow(end('redirected', 'ws://there:2'));
    route.follow(end('refused', 'banned'));
    expect([route.url, route.unreachable]).toEqual([HOME, 'ws://there:2']);
    route.follow(end('lost', 'gone'));
    expect(route.unreachable).toBeUndefined();
  });

  it('an aggregator that cannot be reached is given up at the fifth attempt, and one that is busy at the 200th', () => {
    for (const [code, attempts] of [
      ['E_CONNECTION_REFUSED', 5],
      ['E_COORDINATOR_BUSY', 200],
    ] as const) {
      const route = sentOn();
      for (let attempt = 1; attempt < attempts; attempt++) expect(route.isGivenUp(failure(code))).toBe(false);
      expect(route.isGivenUp(failure(code))).toBe(true);
      expect([route.url, route.unreachable]).toEqual([HOME, 'ws://there:2']);
    }
  });

  it('an aggregator is given up at once where trying again cannot help, but a coordinator never is', () => {
    expect(sentOn().isGivenUp(failure('E_CONNECTION_REFUSED', false))).toBe(true);
    const noAddress = new LockstepError({ category: 'usage', code: 'E_URL', message: 'no address' });
    expect(sentOn().isGivenUp(noAddress)).toBe(true);
    expect(new Route([HOME]).isGivenUp(failure('E_CONNECTION_REFUSED', false))).toBe(false);
  });

  it('of several coordinators each is asked in turn before a wait, beginning after one that was lost', () => {
    const route = new Route(['ws://a:1', 'ws://b:1', 'ws://c:1']);
    const steps = [true, false, true].map((isHopeless) => [route.url, route.leave(isHopeless)]);
    expect(steps).toEqual([
      ['ws://a:1', 'go'],
      ['ws://b:1', 'go'],
      ['ws://c:1', 'wait'],
    ]);
    expect(route.url).toBe('ws://a:1');
    route.follow(end('lost', 'gone'));
    expect(route.url).toBe('ws://b:1');
    route.follow(end('failed', 'of its own fault'));
    expect(route.url).toBe('ws://b:1');
  });

  it('a worker gives up once all coordinators in a row are hopeless, and not sooner', () => {
    const route = new Route(['ws://a:1', 'ws://b:1']);
    expect([route.leave(true), route.leave(false)]).toEqual(['go', 'wait']);
    expect([route.leave(true), route.leave(true)]).toEqual(['go', 'giveUp']);
    expect(new Route([HOME]).leave(false)).toBe('wait');
    expect(new Route([HOME]).leave(true)).toBe('giveUp');
  });

  it('a worker that is sent on 17 times in a row goes back to the coordinator', () => {
    const route = new Route([HOME]);
    for (let hop = 1; hop <= 16; hop++) route.follow(end('redirected', `ws://there:${hop}`));
    expect(route.url).toBe('ws://there:16');
    route.follow(end('redirected', 'ws://there:17'));
    expect([route.url, route.unreachable]).toEqual([HOME, 'ws://there:16']);
  });
});
