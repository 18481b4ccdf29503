// A worker that lies: a relay changes one number in the messages of an honest process; everything else is
// real.
import { ByteFingerprinter } from '../../src/engine/fingerprint.ts';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { Memory } from '../../src/memory.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import type { EvaluationMessage, GradientMessage } from '../../src/protocol/message-types.ts';
import { TOKEN } from './network-run.ts';
import type { NetworkRun } from './network-run.ts';
import { startRelay } from './relay.ts';
import { readRecords } from './run-records.ts';

const kernelModule = await loadKernelModule();
const memory = new Memory();
const fingerprinter = new ByteFingerprinter(await instantiateKernels(kernelModule, memory.wasm), memory);

/** The message with a number of its body changed, and the fingerprint of the new bytes. */
function changed(
  message: GradientMessage | EvaluationMessage,
  body: Uint8Array,
  change: (bits: number) => number,
): Buffer {
  const bytes = new Uint8Array(body);
  const words = new Uint32Array(bytes.buffer);
  words[0] = change(words[0] as number);
  return encodeMessage({ ...message, fingerprint: fingerprinter.fingerprint(bytes) }, bytes);
}

/** The next number, as a bit flip in memory could produce it. */
export const oneUlp = (bits: number): number => bits + 1;
export const notANumber = (): number => 0x7fc00000;

/** A relay that lies in every message of a type, since a copy that is not waited for is not checked. */
export function startLyingRelay(
  run: NetworkRun,
  type: 'gradient' | 'evaluation',
  change: (bits: number) => number,
): Promise<string> {
  return startRelay(run.url, TOKEN, ({ message, body }, data) => [
    message.type === type ? changed(message, body, change) : data,
  ]);
}

/** The bans of a run so far. */
export const bansOf = (run: NetworkRun): Record<string, unknown>[] =>
  readRecords(run.directory, 'events.jsonl').filter(({ type }) => type === 'workerBanned');
