// The tree of a cluster's workers. Each place, that is the coordinator and every aggregator, takes as
// many workers as the fan-in says; whoever comes later is sent on to the aggregator that has the
// fewest workers, which does the same.
import { urlOf } from '../../src/protocol/connection.ts';
import type { HelloMessage } from '../../src/protocol/message-types.ts';

/** A worker of this place, as far as its place in the tree goes. */
export interface PlacedWorker {
  readonly remoteAddress: string;
}

/** The parts of a worker's greeting that its place depends on. */
type PlaceRequest = Pick<HelloMessage, 'instance' | 'isTab' | 'listen' | 'unreachable'>;

interface Place {
  readonly instance: string;
  /** The address at which it takes workers; undefined where it takes none. */
  url: string | undefined;
  /** Workers below it, by its own word. */
  numMembers: number;
  /** Workers that were sent to it since. */
  numSent: number;
}

/** The rules of one place in the tree. */
export interface PlacementOptions {
  readonly fanIn: number;
  /** Tells whether a process is to work alone: neither below another worker nor above one. */
  readonly isDistrusted: (instance: string) => boolean;
  /** Called for a worker that is taken beyond the fan-in because no other takes it. */
  readonly onBeyond: () => void;
}

/** The workers of one place in the tree. */
export class Placement {
  readonly #options: PlacementOptions;
  readonly #places = new Map<PlacedWorker, Place>();

  constructor(options: PlacementOptions) {
    this.#options = options;
  }

  /** The fan-in that a worker is told: undefined for one that may take no workers of its own. */
  fanInOf(instance: string): number | undefined {
    const { fanIn, isDistrusted } = this.#options;
    return isDistrusted(instance) ? undefined : fanIn;
  }

  /** Gives a worker a place here; returns the address of the aggregator that is to take it, if it has none here. */
  place(worker: PlacedWorker, { instance, isTab, listen, unreachable }: PlaceRequest): string | undefined {
    const places = [...this.#places.values()];
    for (const place of places) {
      if (place.url === unreachable && place.numMembers === 0) place.url = undefined;
    }
    const isBack = places.some((place) => place.instance === instance);
    const { fanIn, isDistrusted, onBeyond } = this.#options;
    // An aggregator serves no page, and takes no tab.
    const mustStay = unreachable !== undefined || isBack || isTab === true || isDistrusted(instance);
    const hasPlace = places.length < fanIn;
    const aggregator = mustStay || hasPlace ? undefined : this.#leastLoaded(places);
    if (aggregator) {
      aggregator.numSent++;
      return aggregator.url;
    }
    if (!mustStay && !hasPlace) onBeyond();
    const url = listen && urlOf({ ...listen, host: listen.host ?? worker.remoteAddress });
    this.#places.set(worker, { instance, url, numMembers: 0, numSent: 0 });
    return undefined;
  }

  /** Notes how many workers an aggregator has below it. */
  noteMembers(worker: PlacedWorker, count: number): void {
    const place = this.#places.get(worker);
    if (!place) return;
    place.numMembers = count;
    place.numSent = 0;
  }

  /** Frees the place of a worker that is gone. */
  remove(worker: PlacedWorker): void {
    this.#places.delete(worker);
  }

  #leastLoaded(places: readonly Place[]): Place | undefined {
    const { isDistrusted } = this.#options;
    const able = places.filter(({ instance, url }) => url !== undefined && !isDistrusted(instance));
    const loadOf = ({ numMembers, numSent }: Place): number => numMembers + numSent;
    const least = Math.min(...able.map(loadOf));
    return able.find((place) => loadOf(place) === least);
  }
}
