// From received bytes to a message that keeps its schema, and the sender's role.
import { decodeEnvelope } from './envelope.ts';
import { SCHEMAS } from './message-schemas.ts';
import type { BodyKind, Schema } from './message-schemas.ts';
import type { CoordinatorMessage, Message, Received, WorkerMessage } from './message-types.ts';
import { CLOSE, ProtocolError } from './protocol-error.ts';

const WORKER_TYPES: ReadonlySet<Message['type']> = new Set<WorkerMessage['type']>([
  'hello',
  'fetch',
  'ready',
  'gradient',
  'evaluation',
  'finished',
  'failure',
  'leave',
]);

/**
 * Reads a message that a worker sent.
 * @throws ProtocolError if it is malformed, or the coordinator's to send.
 */
export function parseWorkerMessage(data: Buffer): Received<WorkerMessage> {
  const { message, body } = parseMessage(data);
  if (isFromWorker(message)) return { message, body };
  throw wrongSender(message.type, 'a worker');
}

/**
 * Reads a message that the coordinator sent.
 * @throws ProtocolError if it is malformed, or a worker's to send.
 */
export function parseCoordinatorMessage(data: Buffer): Received<CoordinatorMessage> {
  const { message, body } = parseMessage(data);
  if (!isFromWorker(message)) return { message, body };
  throw wrongSender(message.type, 'a coordinator');
}

function parseMessage(data: Buffer): Received<Message> {
  const { type, header, body } = decodeEnvelope(data);
  // The table pairs each type with its own schema; TypeScript cannot follow that through a lookup.
  const schema = SCHEMAS[type] as Schema<Message>;
  const message = { type, ...schema.fields(header, type) } as Message;
  checkBody(type, schema.body, body.length);
  schema.agree?.(message, body);
  return { message, body };
}

function checkBody(type: Message['type'], kind: BodyKind, byteLength: number): void {
  if (kind === 'none') {
    if (byteLength > 0) throw wrongBody(`${type}: a body of ${byteLength} bytes, expected none`);
    return;
  }
  if (byteLength === 0) throw wrongBody(`${type}: no body`);
  if (kind !== 'bytes' && byteLength % 4 !== 0) {
    throw wrongBody(`${type}: a body of ${byteLength} bytes is not a whole number of ${kind}`);
  }
}

function isFromWorker(message: Message): message is WorkerMessage {
  return WORKER_TYPES.has(message.type);
}

function wrongBody(message: string): ProtocolError {
  return new ProtocolError('E_MESSAGE_BODY', message);
}

function wrongSender(type: Message['type'], sender: string): ProtocolError {
  return new ProtocolError(
    'E_UNEXPECTED_MESSAGE',
    `${type}: not a message that ${sender} sends`,
    CLOSE.protocol,
  );
}
