// All decisions of a coordinator about its workers: the roster says who takes part, the round machine what they do. A
// round waits for the roster to be large enough; who is found wrong in a round leaves the roster. Pure: the cluster
// drives it with sockets and a clock, the simulator of the tests with neither.
import type { AuditPolicy } from './answers.ts';
import type {
  DigestKind,
  TaskName,
  RosterCommand,
  RosterEvent,
  RoundCommand,
  RoundEvent,
  RoundPlan,
  SumName,
  SumRoom,
} from './events.ts';
import { RosterMachine } from './roster-machine.ts';
import type { RosterOptions } from './roster-machine.ts';
import { RoundMachine } from './round-machine.ts';

/** What a machine is told. */
export interface MachineOptions extends RosterOptions {
  readonly audit: AuditPolicy;
  /** Default: for any number. */
  readonly room?: SumRoom | undefined;
}

/** What comes from outside. */
export type MachineEvent = Exclude<RoundEvent, { type: 'workerReady' | 'workerLost' }> | RosterEvent;

/** What is to be done outside, in order. */
export type MachineCommand = Exclude<RoundCommand, { type: 'ban' }> | RosterCommand;

type ReadyEvent = Extract<RosterEvent, { readonly type: 'sessionReady' }>;

/** See the head of this file. */
export class CoordinatorMachine {
  readonly #roster: RosterMachine;
  readonly #round: RoundMachine;
  /** Sessions that are ready, whether they take part or rest. */
  readonly #ready = new Map<number, ReadyEvent>();
  /** A round that waits for workers. */
  #held: RoundPlan | undefined;

  constructor(options: MachineOptions, nowMs: number) {
    this.#roster = new RosterMachine(options, nowMs);
    this.#round = new RoundMachine(options.audit, options.room);
  }

  /** Why the instance may not take part; undefined if it may. */
  banOf(instance: string): string | undefined {
    return this.#roster.banOf(instance);
  }

  /** See `RoundMachine`. A message about any other range is to evict its sender. */
  owes(worker: number, range: TaskName): boolean {
    return this.#round.owes(worker, range);
  }

  /** See `RoundMachine`. */
  inspect(worker: number, sum: SumName): DigestKind | undefined {
    return this.#round.inspect(worker, sum);
  }

  /** Handles one event at the given monotonic time, and returns what to do, in order. */
  handle(event: MachineEvent, nowMs: number): MachineCommand[] {
    const commands = this.#dispatch(event, nowMs);
    if (this.#held && this.#roster.hasEnough) {
      const plan = this.#held;
      this.#held = undefined;
      commands.push(...this.#tellRound({ type: 'roundStarted', plan }, nowMs));
    }
    return commands;
  }

  #dispatch(event: MachineEvent, nowMs: number): MachineCommand[] {
    switch (event.type) {
      case 'sessionReady':
        this.#ready.set(event.worker, event);
        return this.#obeyRoster(this.#roster.handle(event, nowMs), nowMs);
      case 'sessionLost':
        this.#ready.delete(event.worker);
        // The round first: whoever is admitted instead brings it to give out work, which is not for the lost one.
        return [
          ...this.#tellRound({ ...event, type: 'workerLost' }, nowMs),
          ...this.#obeyRoster(this.#roster.handle(event, nowMs), nowMs),
        ];
      case 'workersRequired':
        return this.#obeyRoster(this.#roster.handle(event, nowMs), nowMs);
      case 'roundStarted':
        this.#held = event.plan;
        return [];
      case 'tick':
        return [...this.#obeyRoster(this.#roster.tick(nowMs), nowMs), ...this.#tellRound(event, nowMs)];
      default:
        return this.#tellRound(event, nowMs);
    }
  }

  #tellRound(event: RoundEvent, nowMs: number): MachineCommand[] {
    return this.#round
      .handle(event, nowMs)
      .flatMap((command) =>
        command.type === 'ban'
          ? this.#obeyRoster(this.#roster.ban(command.process, command, nowMs), nowMs)
          : [command],
      );
  }

  /** Passes on what the roster wants; the round hears of an admission after the driver has. */
  #obeyRoster(commands: readonly RosterCommand[], nowMs: number): MachineCommand[] {
    return commands.flatMap((command): MachineCommand[] => {
      const { type } = command;
      if (type === 'admit') return [command, ...this.#tellRound(this.#arrival(command.worker), nowMs)];
      // Who is refused has never been admitted, or was found wrong by the round, which dropped its process itself.
      if (type !== 'supersede') return [command];
      return [command, ...this.#tellRound({ type: 'workerLost', worker: command.worker }, nowMs)];
    });
  }

  #arrival(worker: number): RoundEvent {
    const { instance } = this.#ready.get(worker) as ReadyEvent;
    return { type: 'workerReady', worker, process: instance };
  }
}
