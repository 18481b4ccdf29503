// A worker that sends whatever a test tells it to, in the Lockstep protocol: it joins like an honest one,
// and computes nothing.
import type { Connection } from '../../src/protocol/connection.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { Instance } from '../../src/protocol/instance.ts';
import { PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import type {
  CoordinatorMessage,
  HelloMessage,
  Received,
  WorkerMessage,
} from '../../src/protocol/message-types.ts';
import { parseCoordinatorMessage } from '../../src/protocol/messages.ts';
import { connect } from '../../worker/connection.ts';
import type { ConnectOptions } from '../../worker/connection.ts';
import { loadKernelBuilds } from '../../worker/kernel-builds.ts';
import { Inbox } from './inbox.ts';
import type { Ending } from './inbox.ts';

type ReceivedOf<Type extends CoordinatorMessage['type']> = Received<
  Extract<CoordinatorMessage, { type: Type }>
>;

/** The first message of an honest worker on this machine. */
export async function honestHello(): Promise<HelloMessage> {
  const { identities } = await loadKernelBuilds();
  return {
    type: 'hello',
    protocol: PROTOCOL_VERSION,
    version: '9.9.9',
    kernels: identities,
    threads: 1,
    runtime: 'Node.js v20.0.0',
    platform: 'test-x64',
    host: 'fake',
    pid: 1,
    instance: new Instance().name,
  };
}

let honest: Promise<HelloMessage> | undefined;
let lastPid = 0;

/** A worker that speaks the protocol and sends whatever a test wants. */
export class FakeWorker {
  readonly #connection: Connection;
  readonly #inbox: Inbox<CoordinatorMessage>;

  private constructor(connection: Connection) {
    this.#connection = connection;
    this.#inbox = new Inbox(connection, parseCoordinatorMessage);
  }

  /** Connects without sending anything. */
  static async connect(options: ConnectOptions): Promise<FakeWorker> {
    return new FakeWorker(await connect(options));
  }

  /** Connects and greets. */
  static async greet(options: ConnectOptions, hello: HelloMessage): Promise<FakeWorker> {
    const worker = await FakeWorker.connect(options);
    worker.send(hello);
    return worker;
  }

  /** Connects, greets as an instance of its own unless told otherwise, and says that it is ready to work. */
  static async join(
    options: ConnectOptions,
    hello: Partial<HelloMessage> = {},
    instance = new Instance(),
  ): Promise<FakeWorker> {
    honest ??= honestHello();
    const own = { instance: instance.name, pid: ++lastPid };
    const worker = await FakeWorker.greet(options, { ...(await honest), ...own, ...hello });
    const { message } = await worker.next('welcome');
    worker.send({ type: 'ready', proof: instance.prove(message) });
    return worker;
  }

  get ended(): Promise<Ending> {
    return this.#inbox.ended;
  }

  send(message: WorkerMessage, body?: Uint8Array): void {
    this.sendBytes(encodeMessage(message, body));
  }

  sendBytes(data: Buffer): void {
    this.#connection.send(data);
  }

  /** Vanishes without notice. */
  terminate(): void {
    this.#connection.terminate();
  }

  leave(): Promise<Ending> {
    this.send({ type: 'leave' });
    return this.ended;
  }

  /** Resolves to the next message of one of these types; earlier ones are dropped. */
  async next<Type extends CoordinatorMessage['type']>(...types: Type[]): Promise<ReceivedOf<Type>> {
    for (;;) {
      const received = await this.#inbox.take(types.join('" or "'));
      if (isOneOf(received, types)) return received;
    }
  }
}

function isOneOf<Type extends CoordinatorMessage['type']>(
  received: Received<CoordinatorMessage>,
  types: readonly Type[],
): received is ReceivedOf<Type> {
  return types.some((type) => type === received.message.type);
}
