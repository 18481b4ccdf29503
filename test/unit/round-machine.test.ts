// The coordinator's decisions under a seeded simulator: workers answer in any order, late, twice, or never.
// The oracle is exact: the sum of a round is a text that shows its tree, so any other grouping differs.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RoundMachine } from '../../coordinator/round-machine.ts';
import type { RoundCommand, RoundEvent } from '../../coordinator/round-machine.ts';
import { leavesUnder, maximalNodes } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';

const NUM_PIECES = 2;

/** The one right sum of leaves [0, n): neighbours in brackets, an odd last one lifted. */
function expectedSum(numLeaves: number): string {
  let sums = Array.from({ length: numLeaves }, (_, leaf) => String(leaf));
  while (sums.length > 1) {
    const pairs: string[] = [];
    for (let i = 0; i < sums.length; i += 2) {
      pairs.push(i + 1 < sums.length ? `(${sums[i]}+${sums[i + 1]})` : (sums[i] as string));
    }
    sums = pairs;
  }
  return sums[0] as string;
}

/** The sum under a node, as a worker computes it. */
function sumUnder(node: TreeNode, numLeaves: number): string {
  const { from, to } = leavesUnder(node, numLeaves);
  const local = expectedSum(to - from);
  return local.replace(/\d+/g, (leaf) => String(Number(leaf) + from));
}

type Message =
  | {
      kind: 'sum';
      worker: number;
      round: number;
      attempt: number;
      node: TreeNode;
      piece: number;
      value: string;
    }
  | { kind: 'finished'; worker: number; round: number; attempt: number };

/** Drives a machine: messages wait in a bag, and the seed chooses what arrives next, or what breaks. */
class Simulation {
  readonly machine = new RoundMachine();
  readonly values = new Map<number, string>();
  readonly results = new Map<number, string>();
  readonly evicted: string[] = [];
  bag: Message[] = [];
  alive = new Set<number>();
  completed = 0;
  gaveUp: string | undefined;
  nowMs = 0;
  #numLeaves = 0;
  #round = 0;
  #nextWorker = 1;
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  join(): void {
    const worker = this.#nextWorker++;
    this.alive.add(worker);
    this.event({ type: 'workerReady', worker, threads: 1 });
  }

  lose(worker: number, { keepsMessages }: { keepsMessages: boolean }): void {
    this.alive.delete(worker);
    if (!keepsMessages) this.bag = this.bag.filter((message) => message.worker !== worker);
    this.event({ type: 'workerLost', worker });
  }

  start(numLeaves: number): void {
    this.#numLeaves = numLeaves;
    this.#round++;
    this.values.clear();
    this.results.clear();
    const plan = {
      round: this.#round,
      mode: 'sum' as const,
      numPieces: NUM_PIECES,
      leafRows: Array<number>(numLeaves).fill(4),
    };
    this.event({ type: 'roundStarted', plan });
  }

  /** Delivers one waiting message, or its duplicate, in an order that the seed chooses. */
  deliverOne({ duplicates }: { duplicates: boolean }): void {
    const index = Math.floor(this.#random() * this.bag.length);
    const message = this.bag[index];
    if (!message) return;
    // A finish never overtakes the sums of its own attempt: both travel on one ordered connection.
    const isEarly = (other: Message): boolean => other.attempt === message.attempt && other.kind === 'sum';
    if (message.kind !== 'sum' && this.bag.some(isEarly)) return;
    if (!duplicates || this.#random() > 0.2) this.bag.splice(index, 1);
    this.#deliver(message);
  }

  event(event: RoundEvent, value?: string): void {
    for (const command of this.machine.handle(event, this.nowMs)) this.#obey(command, value);
  }

  #deliver(message: Message): void {
    const { worker, round, attempt } = message;
    if (message.kind === 'finished') return this.event({ type: 'rangeFinished', worker, round, attempt });
    const { node, piece, value } = message;
    this.event({ type: 'sumReceived', worker, sum: { round, attempt, node, piece } }, value);
  }

  #obey(command: RoundCommand, value: string | undefined): void {
    switch (command.type) {
      case 'assign': {
        const { worker, attempt, from, to } = command;
        if (!this.alive.has(worker)) throw new Error(`leaves were given to worker ${worker}, which is gone`);
        const key = { worker, round: this.#round, attempt };
        for (const node of maximalNodes(from, to, this.#numLeaves)) {
          const value = sumUnder(node, this.#numLeaves);
          for (let piece = 0; piece < NUM_PIECES; piece++)
            this.bag.push({ kind: 'sum', ...key, node, piece, value });
        }
        this.bag.push({ kind: 'finished', ...key });
        return;
      }
      case 'store':
        this.values.set(command.slot, value as string);
        return;
      case 'merge':
        this.values.set(command.left, `(${this.values.get(command.left)}+${this.values.get(command.right)})`);
        this.values.delete(command.right);
        return;
      case 'forget':
        this.values.delete(command.slot);
        return;
      case 'pieceCompleted':
        if (this.results.has(command.piece)) throw new Error(`piece ${command.piece} completed twice`);
        this.results.set(command.piece, this.values.get(command.slot) as string);
        return;
      case 'roundCompleted':
        this.completed++;
        return;
      case 'evict':
        this.evicted.push(command.reason);
        if (this.alive.has(command.worker)) this.lose(command.worker, { keepsMessages: false });
        return;
      case 'giveUp':
        this.gaveUp = command.message;
        return;
      default:
        command satisfies never;
    }
  }
}

/** Mulberry32: a small seeded generator, so that a failing seed can be run again. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z = (z + Math.imul(z ^ (z >>> 7), z | 61)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

function runRounds(seed: number, numRounds: number): void {
  const random = seeded(seed);
  const simulation = new Simulation(random);
  for (let worker = 0; worker < 1 + Math.floor(random() * 4); worker++) simulation.join();
  for (let round = 1; round <= numRounds; round++) {
    const numLeaves = 1 + Math.floor(random() * 12);
    simulation.start(numLeaves);
    for (let turn = 0; simulation.completed < round; turn++) {
      if (turn > 5_000) throw new Error(`seed ${seed}: round ${round} does not end`);
      const dice = random();
      const workers = [...simulation.alive];
      const anyone = workers[Math.floor(random() * workers.length)];
      if (dice < 0.03 && anyone !== undefined) simulation.lose(anyone, { keepsMessages: random() < 0.5 });
      else if (dice < 0.06 || workers.length === 0) simulation.join();
      else if (dice < 0.1) {
        simulation.nowMs += random() * 20_000;
        simulation.event({ type: 'tick' });
      } else simulation.deliverOne({ duplicates: true });
    }
    for (let piece = 0; piece < NUM_PIECES; piece++) {
      expect(simulation.results.get(piece), `seed ${seed}, round ${round}`).toBe(expectedSum(numLeaves));
    }
  }
  expect(simulation.gaveUp).toBeUndefined();
}

describe('RoundMachine', () => {
  test('gives the one right sum for 1,000 seeds of losses, joins, delays, reordering and duplicates', () => {
    for (let seed = 1; seed <= 1_000; seed++) runRounds(seed, 3);
  });

  test('gives the one right sum whatever order the answers of two workers come in', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 16 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer(),
        (leaves, workers, seed) => {
          const simulation = new Simulation(seeded(seed));
          for (let worker = 0; worker < workers; worker++) simulation.join();
          simulation.start(leaves);
          for (let turn = 0; turn < 2_000 && simulation.completed === 0; turn++)
            simulation.deliverOne({ duplicates: false });
          expect(simulation.results.get(0)).toBe(expectedSum(leaves));
          expect(simulation.evicted).toEqual([]);
        },
      ),
    );
  });

  test('gives the leaves of a lost worker to the others at once', () => {
    const machine = new RoundMachine();
    machine.handle({ type: 'workerReady', worker: 1, threads: 1 }, 0);
    machine.handle({ type: 'workerReady', worker: 2, threads: 1 }, 0);
    const plan = { round: 1, mode: 'sum' as const, numPieces: 1, leafRows: [4, 4, 4, 4] };
    expect(machine.handle({ type: 'roundStarted', plan }, 0)).toEqual([
      { type: 'assign', worker: 1, attempt: 1, from: 0, to: 2 },
      { type: 'assign', worker: 2, attempt: 2, from: 2, to: 4 },
    ]);
    expect(machine.handle({ type: 'workerLost', worker: 2 }, 5)).toEqual([
      { type: 'assign', worker: 1, attempt: 3, from: 2, to: 4 },
    ]);
  });

  test('gives a copy of a late range to an idle worker, and only one copy', () => {
    const simulation = new Simulation(seeded(1));
    simulation.join();
    simulation.join();
    simulation.start(2);
    const first = simulation.bag.filter((message) => message.worker === 1);
    simulation.bag = simulation.bag.filter((message) => message.worker === 2);
    for (let turn = 0; turn < 50; turn++) simulation.deliverOne({ duplicates: false });
    expect(simulation.completed).toBe(0);
    simulation.nowMs = 400;
    simulation.event({ type: 'tick' });
    expect(simulation.bag).toEqual([]);
    simulation.nowMs = 10_000;
    simulation.event({ type: 'tick' });
    simulation.event({ type: 'tick' });
    expect(simulation.bag.filter((message) => message.kind === 'finished')).toHaveLength(1);
    for (let turn = 0; turn < 50; turn++) simulation.deliverOne({ duplicates: false });
    expect(simulation.results.get(0)).toBe('(0+1)');
    // The straggler's answers come after all: nothing is to be done with them.
    simulation.bag = first;
    for (let turn = 0; turn < 50; turn++) simulation.deliverOne({ duplicates: false });
    expect(simulation.completed).toBe(1);
    expect(simulation.evicted).toEqual([]);
  });

  test('gives nothing more to a worker that still owes a range, until it reports', () => {
    const machine = new RoundMachine();
    const start = (round: number, nowMs: number): RoundCommand[] =>
      machine.handle(
        { type: 'roundStarted', plan: { round, mode: 'sum', numPieces: 1, leafRows: [4, 4] } },
        nowMs,
      );
    const answer = (round: number, attempt: number, index: number, nowMs: number): RoundCommand[] =>
      machine.handle(
        { type: 'sumReceived', worker: 1, sum: { round, attempt, node: { level: 0, index }, piece: 0 } },
        nowMs,
      );
    machine.handle({ type: 'workerReady', worker: 1, threads: 1 }, 0);
    machine.handle({ type: 'workerReady', worker: 2, threads: 1 }, 0);
    start(1, 0);
    answer(1, 1, 0, 10);
    // Worker 2 is silent: its leaf goes to worker 1 too, which completes the round.
    expect(machine.handle({ type: 'tick' }, 1_000)).toEqual([
      { type: 'assign', worker: 1, attempt: 3, from: 1, to: 2 },
    ]);
    answer(1, 3, 1, 1_010);
    expect(start(2, 1_020)).toEqual([{ type: 'assign', worker: 1, attempt: 4, from: 0, to: 2 }]);
    machine.handle({ type: 'rangeFinished', worker: 2, round: 1, attempt: 2 }, 1_030);
    expect(start(3, 1_040)).toContainEqual({ type: 'assign', worker: 2, attempt: 5, from: 0, to: 2 });
  });

  test('evicts a worker that finishes a range without its sums', () => {
    const machine = new RoundMachine();
    machine.handle({ type: 'workerReady', worker: 1, threads: 1 }, 0);
    machine.handle({ type: 'roundStarted', plan: { round: 1, mode: 'sum', numPieces: 1, leafRows: [4] } }, 0);
    expect(machine.handle({ type: 'rangeFinished', worker: 1, round: 1, attempt: 1 }, 1)).toEqual([
      { type: 'evict', worker: 1, reason: 'finished a range without sending all of its sums' },
    ]);
  });

  test('evicts a worker that sends a sum outside its range', () => {
    const machine = new RoundMachine();
    machine.handle({ type: 'workerReady', worker: 1, threads: 1 }, 0);
    machine.handle({ type: 'workerReady', worker: 2, threads: 1 }, 0);
    machine.handle(
      { type: 'roundStarted', plan: { round: 1, mode: 'sum', numPieces: 1, leafRows: [4, 4] } },
      0,
    );
    const sum = { round: 1, attempt: 1, node: { level: 0, index: 1 }, piece: 0 };
    expect(machine.handle({ type: 'sumReceived', worker: 1, sum }, 1)).toEqual([
      { type: 'evict', worker: 1, reason: 'sent a sum it was not asked for' },
    ]);
  });

  test('gives up on leaves that every worker fails on, with the last message', () => {
    const simulation = new Simulation(seeded(1));
    simulation.join();
    simulation.join();
    simulation.start(1);
    for (let turn = 0; turn < 5 && !simulation.gaveUp; turn++) {
      const message = simulation.bag.find((candidate) => candidate.kind === 'finished');
      if (!message) break;
      simulation.bag = [];
      simulation.event({ ...message, type: 'rangeFailed', message: 'unreachable' });
    }
    expect(simulation.gaveUp).toBe('unreachable');
  });
});
