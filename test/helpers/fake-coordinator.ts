// A coordinator that sends whatever a test tells it to, in the Lockstep protocol: workers connect to it as
// to an honest one.
import { onTestFinished } from 'vitest';
import { listen } from '../../coordinator/cluster/listener.ts';
import { createLogger } from '../../src/log.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import type { CoordinatorMessage, Received, WorkerMessage } from '../../src/protocol/message-types.ts';
import { parseWorkerMessage } from '../../src/protocol/messages.ts';
import { Inbox } from './inbox.ts';
import type { Ending } from './inbox.ts';

type ReceivedOf<Type extends WorkerMessage['type']> = Received<Extract<WorkerMessage, { type: Type }>>;

/** One connection of a worker. */
export class FakeSession {
  readonly connection: Connection;
  readonly #inbox: Inbox<WorkerMessage>;

  constructor(connection: Connection) {
    this.connection = connection;
    this.#inbox = new Inbox(connection, parseWorkerMessage);
  }

  get ended(): Promise<Ending> {
    return this.#inbox.ended;
  }

  send(message: CoordinatorMessage, body?: Uint8Array): void {
    this.connection.send(encodeMessage(message, body));
  }

  /** Resolves to the next message, which must be of one of these types. */
  async next<Type extends WorkerMessage['type']>(...types: Type[]): Promise<ReceivedOf<Type>> {
    const wanted = types.join('" or "');
    const received = await this.#inbox.take(wanted);
    if (!types.some((type) => type === received.message.type))
      throw new Error(`"${received.message.type}" came, not "${wanted}"`);
    return received as ReceivedOf<Type>;
  }
}

/** An open port, closed when the test is over. */
export class FakeCoordinator {
  readonly url: string;
  /** Every connection so far. */
  readonly sessions: readonly FakeSession[];
  #wait: (numSessions: number) => Promise<void>;

  private constructor(url: string, sessions: FakeSession[], wait: (numSessions: number) => Promise<void>) {
    this.url = url;
    this.sessions = sessions;
    this.#wait = wait;
  }

  static async open(): Promise<FakeCoordinator> {
    const sessions: FakeSession[] = [];
    let wake = (): void => undefined;
    const listener = await listen({
      host: '127.0.0.1',
      port: 0,
      maxWorkers: 64,
      log: createLogger({ level: 'silent' }),
      onConnection: (connection) => {
        sessions.push(new FakeSession(connection));
        wake();
      },
    });
    onTestFinished(() => listener.close());
    const wait = async (numSessions: number): Promise<void> => {
      while (sessions.length < numSessions) await new Promise<void>((resolve) => (wake = resolve));
    };
    return new FakeCoordinator(`ws://127.0.0.1:${listener.port}`, sessions, wait);
  }

  /** Resolves to the connection with this number, from 1, once it exists. */
  async session(number: number): Promise<FakeSession> {
    await this.#wait(number);
    return this.sessions[number - 1] as FakeSession;
  }
}
