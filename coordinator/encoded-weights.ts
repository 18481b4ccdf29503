// Messages with pieces of the weights: the same bytes for all workers, encoded once for as long as somebody waits for
// them.
import { encodeMessage } from '../src/protocol/envelope.ts';
import type { TrainingState } from './training-state.ts';

interface EncodedPiece {
  readonly version: number;
  readonly fingerprint: string;
  /** Until the last socket has sent it. */
  readonly data: WeakRef<Buffer>;
}

/** See the head of this file. */
export class EncodedWeights {
  readonly #run: string;
  readonly #state: TrainingState;
  /** By piece. */
  readonly #encoded: (EncodedPiece | undefined)[] = [];

  constructor(run: string, state: TrainingState) {
    this.#run = run;
    this.#state = state;
  }

  /** With a piece of the weights that are, or of those that the step in progress makes: undefined until it has. */
  message(index: number, which: 'current' | 'next'): Buffer | undefined {
    const state = this.#state;
    const piece = which === 'current' ? state.currentPiece(index) : state.nextPiece(index);
    if (!piece) return undefined;
    const version = which === 'current' ? state.version : state.version + 1;
    const { fingerprint, bytes } = piece;
    const known = this.#encoded[index];
    // A step that begins again makes other bytes of the same version.
    const isKnown = known?.version === version && known.fingerprint === fingerprint;
    const queued = isKnown ? known.data.deref() : undefined;
    if (queued) return queued;
    const header = { type: 'weights', run: this.#run, version, piece: index, fingerprint } as const;
    const data = encodeMessage(header, bytes);
    this.#encoded[index] = { version, fingerprint, data: new WeakRef(data) };
    return data;
  }
}
