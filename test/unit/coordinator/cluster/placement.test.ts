import { describe, expect, it } from 'vitest';
import { Placement } from '../../../../coordinator/cluster/placement.ts';
import type { HelloMessage } from '../../../../src/protocol/message-types.ts';

/** Places workers that all listen, unless told otherwise, and come from addresses by their names. */
class Tree {
  readonly placement: Placement;
  /** Workers that were taken beyond the fan-in. */
  numBeyond = 0;
  readonly distrusted = new Set<string>();
  readonly #workers = new Map<string, { remoteAddress: string }>();

  constructor(fanIn: number) {
    const isDistrusted = (instance: string): boolean => this.distrusted.has(instance);
    this.placement = new Placement({ fanIn, isDistrusted, onBeyond: () => this.numBeyond++ });
  }

  place(
    instance: string,
    options: Pick<HelloMessage, 'isTab' | 'listen' | 'unreachable'> = { listen: { port: 1 } },
  ): string | undefined {
    const worker = { remoteAddress: instance };
    const url = this.placement.place(worker, { ...({} as HelloMessage), instance, ...options });
    if (url === undefined) this.#workers.set(instance, worker);
    return url;
  }

  tell(instance: string, numMembers: number): void {
    this.placement.noteMembers(this.#workers.get(instance) as { remoteAddress: string }, numMembers);
  }

  lose(instance: string): void {
    this.placement.remove(this.#workers.get(instance) as { remoteAddress: string });
  }
}

describe('places in a tree', () => {
  it('the first workers, as many as the fan-in, get a place, and the others are spread over them', () => {
    const tree = new Tree(2);
    const urls = ['a', 'b', 'c', 'd', 'e'].map((name) => tree.place(name));
    expect(urls).toEqual([undefined, undefined, 'ws://a:1', 'ws://b:1', 'ws://a:1']);
  });

  it('a worker is sent on to the aggregator that has the fewest workers by its own word', () => {
    const tree = new Tree(2);
    for (const name of ['a', 'b']) tree.place(name);
    tree.tell('a', 5);
    tree.tell('b', 3);
    expect([tree.place('c'), tree.place('d'), tree.place('e')]).toEqual(['ws://b:1', 'ws://b:1', 'ws://a:1']);
  });

  it('workers stay where nobody takes others', () => {
    const tree = new Tree(1);
    expect([tree.place('a', {}), tree.place('b', {}), tree.place('c')]).toEqual(Array(3).fill(undefined));
    expect(tree.numBeyond).toBe(2);
    expect(tree.place('d')).toBe('ws://c:1');
    expect(tree.numBeyond).toBe(2);
  });

  it('a tab has its place at the coordinator, since no aggregator could take it', () => {
    const tree = new Tree(1);
    tree.place('a');
    expect([tree.place('tab', { isTab: true }), tree.place('b')]).toEqual([undefined, 'ws://a:1']);
    expect(tree.numBeyond).toBe(0);
  });

  it('a worker that names its own host is reached there, and IPv6 addresses have brackets', () => {
    const tree = new Tree(1);
    tree.place('10.0.0.1', { listen: { host: 'gpu-7.example', port: 80 } });
    expect(tree.place('b')).toBe('ws://gpu-7.example:80');
    tree.lose('10.0.0.1');
    tree.place('fe80::1');
    expect(tree.place('b')).toBe('ws://[fe80::1]:1');
  });

  it('a worker that could not reach an aggregator stays, and nobody else is sent there unless others are below it', () => {
    const tree = new Tree(2);
    for (const name of ['a', 'b']) tree.place(name);
    tree.tell('b', 1);
    expect(tree.place('c', { unreachable: 'ws://a:1' })).toBeUndefined();
    expect(tree.place('d', { unreachable: 'ws://b:1' })).toBeUndefined();
    expect([tree.place('e'), tree.place('f')]).toEqual(['ws://b:1', 'ws://b:1']);
  });

  it('an aggregator that could not be reached by the worker that was sent to it gets no others', () => {
    const tree = new Tree(2);
    for (const name of ['a', 'b']) tree.place(name);
    expect(tree.place('c')).toBe('ws://a:1');
    expect(tree.place('c', { unreachable: 'ws://a:1' })).toBeUndefined();
    expect([tree.place('d'), tree.place('e')]).toEqual(['ws://b:1', 'ws://b:1']);
  });

  it('a worker that comes back while its old session is open stays', () => {
    const tree = new Tree(1);
    tree.place('a');
    expect(tree.place('a')).toBeUndefined();
  });

  it('a distrusted worker stays, takes nobody, and is told so', () => {
    const tree = new Tree(1);
    tree.distrusted.add('a');
    tree.place('a');
    expect(tree.place('b')).toBeUndefined();
    expect(tree.place('c')).toBe('ws://b:1');
    tree.distrusted.add('c');
    expect(tree.place('c')).toBeUndefined();
    expect([tree.placement.fanInOf('a'), tree.placement.fanInOf('b')]).toEqual([undefined, 1]);
  });
});
