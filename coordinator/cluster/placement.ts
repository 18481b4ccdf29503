// The tree of a cluster's workers. Each place, that is the coordinator and every aggregator, takes as
// many workers as the fan-in says; whoever comes later is sent on to the aggregator that has the
// fewest workers, which does the same.
import { isIPv6 } from 'node:net';
import type { HelloMessage } from '../../src/protocol/message-types.ts';

/** A worker of this place, as far as its place in the tree goes. */
export interface PlacedWorker {
  readonly remoteAddress: string;
}

/** The parts of a worker's greeting that its place depends on. */
type PlaceRequest = Pick<HelloMessage, 'instance' | 'listen' | 'unreachable'>;

interface Place {
  readonly instance: string;
  /** The address at which it takes workers; undefined where it takes none. */
  url: string | undefined;
  /** Workers below it: those that it has told of, and those that were sent to it since. */
  numMembers: number;
}

/** The workers of one place in the tree. */
export class Placement {
  readonly #fanIn: number;
  readonly #isDistrusted: (instance: string) => boolean;
  readonly #places = new Map<PlacedWorker, Place>();

  /** Takes `fanIn` workers, and as many more as cannot be sent on. Nothing is sent on to a distrusted process. */
  constructor(fanIn: number, isDistrusted: (instance: string) => boolean) {
    this.#fanIn = fanIn;
    this.#isDistrusted = isDistrusted;
  }

  /** The fan-in that a worker is told: undefined for one that may take no workers of its own. */
  fanInOf(instance: string): number | undefined {
    return this.#isDistrusted(instance) ? undefined : this.#fanIn;
  }

  /** Gives a worker a place here; returns the address of the aggregator that is to take it, if it has none here. */
  place(worker: PlacedWorker, { instance, listen, unreachable }: PlaceRequest): string | undefined {
    const places = [...this.#places.values()];
    for (const place of places) {
      if (place.url === unreachable && place.numMembers === 0) place.url = undefined;
    }
    const isBack = places.some((place) => place.instance === instance);
    const mustStay = unreachable !== undefined || isBack || this.#isDistrusted(instance);
    const aggregator = mustStay || places.length < this.#fanIn ? undefined : this.#leastLoaded(places);
    if (aggregator) {
      aggregator.numMembers++;
      return aggregator.url;
    }
    const url = listen && urlOf(listen.host ?? worker.remoteAddress, listen.port);
    this.#places.set(worker, { instance, url, numMembers: 0 });
    return undefined;
  }

  /** Notes how many workers an aggregator has below it. */
  noteMembers(worker: PlacedWorker, count: number): void {
    const place = this.#places.get(worker);
    if (place) place.numMembers = count;
  }

  /** Frees the place of a worker that is gone. */
  remove(worker: PlacedWorker): void {
    this.#places.delete(worker);
  }

  #leastLoaded(places: readonly Place[]): Place | undefined {
    const able = places.filter(({ instance, url }) => url !== undefined && !this.#isDistrusted(instance));
    const least = Math.min(...able.map(({ numMembers }) => numMembers));
    return able.find(({ numMembers }) => numMembers === least);
  }
}

function urlOf(host: string, port: number): string {
  return `ws://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
