// How buckets of the weights reach workers with and without shared memory.
import { describe, expect, it, onTestFinished } from 'vitest';
import { WeightsSender } from '../../../../coordinator/cluster/weights-sender.ts';
import type { TrainingState, WeightsBucket } from '../../../../coordinator/training/training-state.ts';
import type { WeightsMessage } from '../../../../src/protocol/message-types.ts';
import { parseCoordinatorMessage } from '../../../../src/protocol/messages.ts';
import { copyBody, SharedFile } from '../../../../src/protocol/shared-file.ts';
import { missingForDisks, SmallDisk } from '../../../helpers/small-disk.ts';
import { flatModel } from '../../../helpers/flat-model.ts';

const MODEL = flatModel([{ name: '0.weight', role: 'weight', length: 12_288 }], [8192, 4096]);
const FLAT_BYTES = 4 * MODEL.numParameters;
const disks = missingForDisks();

/** A state whose bytes and fingerprints tell their version. */
class FakeState {
  readonly model = MODEL;
  version = 4;
  /** Digits that a restarted step changes. */
  attempt = 0;

  currentBucket(index: number): WeightsBucket {
    return this.#bucket(index, this.version);
  }

  nextBucket(index: number): WeightsBucket {
    return this.#bucket(index, this.version + 1);
  }

  #bucket(index: number, version: number): WeightsBucket {
    const value = 10 * version + this.attempt;
    const bytes = new Uint8Array(4 * (MODEL.buckets[index]?.length ?? 0)).fill(value);
    return { bytes, fingerprint: String(value).padStart(16, '0') };
  }
}

class FakeReceiver {
  readonly sharesMemory: boolean;
  readonly received: { readonly message: WeightsMessage; readonly body: Uint8Array }[] = [];

  constructor(sharesMemory: boolean) {
    this.sharesMemory = sharesMemory;
  }

  send(data: Buffer): void {
    const { message, body } = parseCoordinatorMessage(data);
    if (message.type === 'weights') this.received.push({ message, body });
  }
}

function start(directory?: string): { state: FakeState; file: SharedFile; sender: WeightsSender } {
  const state = new FakeState();
  const file = SharedFile.create(2 * FLAT_BYTES, directory);
  onTestFinished(() => file.close());
  const sender = new WeightsSender({
    run: 'r1',
    state: state as unknown as TrainingState,
    weightsFile: file,
  });
  return { state, file, sender };
}

/** The value of all bytes of a bucket, and whether they came in the file. */
function arrived(receiver: FakeReceiver, file: SharedFile): [value: number | undefined, way: string][] {
  return receiver.received.map(({ message: { extent }, body }) => {
    const bytes = extent ? new Uint8Array(extent.length) : body;
    if (extent) copyBody(file.bodyAt(extent), bytes);
    return [bytes.every((value) => value === bytes[0]) ? bytes[0] : undefined, extent ? 'file' : 'socket'];
  });
}

describe.skipIf(process.platform !== 'linux')('weights for workers of the same machine', () => {
  it('a version lies in its own half of the file, and the next one does not touch it', () => {
    const { state, file, sender } = start();
    const [near, far] = [new FakeReceiver(true), new FakeReceiver(false)];
    for (const receiver of [near, far]) sender.supply(receiver);
    for (const bucket of [0, 1]) sender.send([near, far], bucket, 'next');
    const values = [40, 40, 50, 50];
    expect(arrived(near, file)).toEqual(values.map((value) => [value, 'file']));
    expect(arrived(far, file)).toEqual(values.map((value) => [value, 'socket']));
    state.version = 5;
    sender.send([near], 1, 'next');
    expect(arrived(near, file).map(([value]) => value)).toEqual([40, 60, 50, 50, 60]);
  });

  it('buckets of a step that starts again take the place of those that it made before', () => {
    const { state, file, sender } = start();
    const near = new FakeReceiver(true);
    sender.send([near], 0, 'next');
    state.attempt = 1;
    sender.send([near], 0, 'next');
    state.attempt = 0;
    sender.send([near], 0, 'next');
    expect(near.received.map(({ message }) => message.fingerprint)).toEqual(
      [50, 51, 50].map((value) => String(value).padStart(16, '0')),
    );
    expect(arrived(near, file).at(-1)).toEqual([50, 'file']);
  });

  it.skipIf(disks)(
    'a bucket for which memory does not suffice comes by the socket, and later ones by the file',
    () => {
      const disk = new SmallDisk(2 ** 18);
      disk.fill(8192);
      const { state, file, sender } = start(disk.path);
      const near = new FakeReceiver(true);
      sender.supply(near);
      expect(arrived(near, file)[0]).toEqual([40, 'socket']);
      disk.makeRoom();
      state.version = 6;
      sender.supply(near);
      expect(arrived(near, file).slice(2)).toEqual([
        [60, 'file'],
        [60, 'file'],
      ]);
    },
  );
});
