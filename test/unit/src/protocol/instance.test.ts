// The name of a worker process, which only the process that drew it can prove.
import { describe, expect, it } from 'vitest';
import { Instance, isProof } from '../../../../src/protocol/instance.ts';

const challengeOf = (number: number): { run: string; nonce: string } => ({
  run: 'run',
  nonce: number.toString(16).padStart(16, '0'),
});
const CHALLENGE = challengeOf(0);

/** The y of the points of small order: 0, 1, two of order 8, and -1; then 0 and 1 again, as p and p + 1. */
const SMALL_ORDER = [
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  `ec${'ff'.repeat(30)}7f`,
  `ed${'ff'.repeat(30)}7f`,
  `ee${'ff'.repeat(30)}7f`,
];

/** The point with the other sign of x. */
function mirrored(point: string): string {
  const bytes = Buffer.from(point, 'hex');
  bytes[31] = (bytes[31] as number) ^ 0x80;
  return bytes.toString('hex');
}

describe('the proof of an instance', () => {
  it('a proof is accepted only from the instance of that name, for the challenge that it has signed', () => {
    const [own, other] = [new Instance(), new Instance()];
    const proof = own.prove(CHALLENGE);
    expect(own.name).toMatch(/^[0-9a-f]{64}$/);
    expect(other.name).not.toBe(own.name);
    expect(isProof(proof, own.name, CHALLENGE)).toBe(true);
    expect(isProof(other.prove(CHALLENGE), own.name, CHALLENGE)).toBe(false);
    expect(isProof(proof, own.name, challengeOf(1))).toBe(false);
    expect(isProof(proof, own.name, { ...CHALLENGE, run: 'another' })).toBe(false);
  });

  it('a proof with a key of small order, which needs no private key, is refused', () => {
    const points = SMALL_ORDER.flatMap((point) => [point, mirrored(point)]);
    for (const name of points) {
      for (const commitment of points) {
        for (let number = 0; number < 16; number++) {
          expect(isProof(commitment + '00'.repeat(32), name, challengeOf(number))).toBe(false);
        }
      }
    }
  });
});
