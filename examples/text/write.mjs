// Lets a model of a text write on from a prompt, byte by byte: each is drawn from the probabilities
// that the model gives for what stands before it. node examples/text/write.mjs RUN [PROMPT]
// [--bytes 500] [--temperature 0.8] [--seed 1]
import { parseArgs, TextDecoder } from 'node:util';
import { loadModel } from 'lockstep';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bytes: { type: 'string', default: '500' },
    temperature: { type: 'string', default: '0.8' },
    seed: { type: 'string', default: '1' },
  },
});
const [run = 'runs/latest', prompt = '\n'] = positionals;
const temperature = Number(values.temperature);
const random = generator(Number(values.seed));

const model = await loadModel(run);
const [context] = model.inputShape;
const [, numValues] = model.outputShape;
if (numValues !== 256 || prompt === '') throw new Error('write.mjs takes a model of a text, and a prompt');

const text = [...Buffer.from(prompt)];
const decoder = new TextDecoder();
show(Buffer.from(prompt));
for (let written = 0; written < Number(values.bytes); written++) {
  const byte = draw(nextLogits(text.slice(-context)));
  text.push(byte);
  show(Uint8Array.of(byte));
}
process.stdout.write('\n');

/** A model may write any byte; a terminal gets none that would steer it, a file gets all. */
function show(bytes) {
  if (!process.stdout.isTTY) process.stdout.write(bytes);
  else
    process.stdout.write(
      decoder.decode(bytes, { stream: true }).replace(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd'),
    );
}

/**
 * The outputs behind the last of these bytes, at most `context`. What fills the window up stands
 * behind it, where a causal model does not look.
 */
function nextLogits(bytes) {
  const window = new Uint8Array(context);
  window.set(bytes);
  return model.outputs(window).subarray((bytes.length - 1) * numValues, bytes.length * numValues);
}

/** A byte with probability softmax(logits / temperature); at temperature 0 the likeliest. */
function draw(logits) {
  const largest = Math.max(...logits);
  if (temperature === 0) return logits.indexOf(largest);
  const weights = Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  let left = random() * weights.reduce((sum, weight) => sum + weight);
  const byte = weights.findIndex((weight) => (left -= weight) < 0);
  return byte === -1 ? logits.indexOf(largest) : byte;
}

/** Numbers from 0 to 1, without 1: a counter whose bits are mixed as MurmurHash3 finishes its hashes. */
function generator(seed) {
  let counter = seed;
  return () => {
    counter = (counter + 0x9e3779b9) | 0;
    let bits = Math.imul(counter ^ (counter >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    return ((bits ^ (bits >>> 16)) >>> 0) / 2 ** 32;
  };
}
