// Named places where a test can make a running process fail, by the environment variable LOCKSTEP_FAILPOINT:
// `checkpoint.rename@step=7:kill,checkpoint.fsync#2:throw=EIO`. Unset, a failpoint is one comparison.
//
//   failpoint(name: FailpointName, facts?: FailpointFacts): string | undefined
//
// gives the text of an action that the caller carries out itself (`flip`), and undefined where
// nothing is to be done. A new place is one line in FAILPOINTS.
import { LockstepError } from './errors.ts';

/** Every place there is, with what has just happened or is about to happen there. */
export const FAILPOINTS = {
  'coordinator.receive': 'when a result of a worker has arrived, before it is used',
  'coordinator.afterStep': 'after a step is committed, and its checkpoint begun if one is due',
  'coordinator.afterEpoch': 'after an epoch is validated, and its checkpoint begun',
  'coordinator.compute': 'before it computes a shard itself',
  'checkpoint.write': 'before each slice of a file that is written durably',
  'checkpoint.fsync': 'before such a file is forced to the disk',
  'checkpoint.rename': 'before it takes its name',
  'checkpoint.fsyncDirectory': 'before its directory is forced to the disk',
  'worker.beforeCompute': 'before a worker computes a task',
  'worker.thread': 'before a compute thread computes its share of a task: trap',
  'worker.afterCompute': 'before it sends a sum of that task',
  'worker.afterSend': 'after it has sent all of them',
  'worker.gradient': 'on the values of a sum of gradients: flip, nan',
  'worker.stale': 'before it stores a bucket of the weights: skip',
} as const satisfies Readonly<Record<string, string>>;

/** A name that LOCKSTEP_FAILPOINT may hold. */
export type FailpointName = keyof typeof FAILPOINTS;

/**
 * Facts that a place knows about itself; conditions are compared with them as text,
 * with each member of a list.
 */
export type FailpointFacts = Readonly<Record<string, string | number | Uint32Array>>;

interface Rule {
  readonly name: string;
  readonly conditions: readonly (readonly [key: string, value: string])[];
  /** Acts at this hit only, counted from 1 among those that meet the conditions; undefined: at every one. */
  readonly hit: number | undefined;
  readonly action: string;
  readonly argument: string | undefined;
}

const VARIABLE = 'LOCKSTEP_FAILPOINT';

/** name @key=value... #hit :action=argument */
const SYNTAX = /^([\w.]+)((?:@\w+=[^@#:,]+)*)(?:#([1-9]\d{0,8}))?:([A-Za-z]\w*)(?:=([^,]*))?$/;

/** A list of rules, and how often each has been met: by thread, since each thread has its own. */
export class Failpoints {
  readonly #rules: readonly { readonly rule: Rule; numHits: number }[];

  /**
   * @throws LockstepError (exit 2) for text that does not follow the syntax, or that
   * names no place there is.
   */
  constructor(text: string) {
    this.#rules = text.split(',').map((part) => ({ rule: parseRule(part.trim()), numHits: 0 }));
  }

  /**
   * Carries out what the rules say for this place: `kill` (SIGKILL to this process), `exit=CODE`
   * (of a thread: ends the thread), `throw` or `throw=EIO` (an error, with that code), `uncaught`
   * (an error out of everybody's reach), `sleep=MS` (blocks the thread, as a stalled one is
   * blocked), `fill=MIB` (takes so much of the heap, and keeps it). Any other action is returned,
   * with its argument, as it was written: `nan`, `add=1`.
   */
  reach(name: FailpointName, facts: FailpointFacts = {}): string | undefined {
    const met = this.#rules.filter(({ rule }) => isMet(rule, name, facts));
    // All are counted before one may throw.
    for (const entry of met) entry.numHits++;
    const due = met.filter(({ rule, numHits }) => rule.hit === undefined || rule.hit === numHits);
    const wanted = due.map(({ rule }) => perform(rule));
    return wanted.find((action) => action !== undefined);
  }
}

function parseRule(text: string): Rule {
  const match = SYNTAX.exec(text);
  if (!match)
    throw refuse(`${JSON.stringify(text)} does not read NAME[@KEY=VALUE]...[#HIT]:ACTION[=ARGUMENT]`);
  const [, name = '', conditions = '', hit, action = '', argument] = match;
  if (!Object.hasOwn(FAILPOINTS, name)) throw refuse(`there is no failpoint ${JSON.stringify(name)}`);
  const needsNumber = ['exit', 'sleep', 'fill'].includes(action);
  if (needsNumber && !/^\d{1,9}$/.test(argument ?? ''))
    throw refuse(`${action} needs a number, as in ${action}=3`);
  if (action === 'kill' && argument !== undefined) throw refuse('kill takes no argument');
  return {
    name,
    conditions: conditions
      .split('@')
      .slice(1)
      .map((condition) => condition.split('=', 2) as [string, string]),
    hit: hit === undefined ? undefined : Number(hit),
    action,
    argument,
  };
}

function isMet(rule: Rule, name: FailpointName, facts: FailpointFacts): boolean {
  const holds = ([key, value]: readonly [string, string]): boolean => {
    const fact = facts[key];
    return fact instanceof Uint32Array ? fact.includes(Number(value)) : String(fact) === value;
  };
  return rule.name === name && rule.conditions.every(holds);
}

function perform({ name, action, argument }: Rule): string | undefined {
  switch (action) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      // The signal is in flight, but this thread may run for another moment: not a step further.
      block(60_000);
      return undefined;
    case 'exit':
      process.exit(Number(argument));
      return undefined;
    case 'sleep':
      block(Number(argument));
      return undefined;
    case 'fill':
      fill(Number(argument));
      return undefined;
    case 'throw':
      throw madeUp(name, argument);
    case 'uncaught':
      setImmediate(() => {
        throw madeUp(name, argument);
      });
      return undefined;
    default:
      return argument === undefined ? action : `${action}=${argument}`;
  }
}

function madeUp(name: string, code: string | undefined): Error {
  return Object.assign(new Error(`${code ?? 'error'} made by failpoint ${name}`), { code });
}

function block(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

const taken: number[][] = [];

function fill(mebibytes: number): void {
  // Numbers with a fraction take eight bytes each, and are all different from what a page holds at first.
  for (let count = 0; count < mebibytes; count++) taken.push(new Array<number>(2 ** 17).fill(0.5));
}

function refuse(problem: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_FAILPOINT',
    message: `${VARIABLE}: ${problem}`,
    help: `the failpoints are ${Object.keys(FAILPOINTS).join(', ')}; unset ${VARIABLE} to train`,
  });
}

const configured = process.env[VARIABLE];
let fromEnvironment: Failpoints | undefined;

/**
 * Reads LOCKSTEP_FAILPOINT now, so that a mistake in it ends a command at its start.
 * @throws LockstepError (exit 2)
 */
export function checkFailpoints(): void {
  if (configured !== undefined) fromEnvironment ??= new Failpoints(configured);
}

/** Does what LOCKSTEP_FAILPOINT says for this place, see {@link Failpoints.reach}. */
export function failpoint(name: FailpointName, facts?: FailpointFacts): string | undefined {
  if (configured === undefined) return undefined;
  checkFailpoints();
  return fromEnvironment?.reach(name, facts);
}
