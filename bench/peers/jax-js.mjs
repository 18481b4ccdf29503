// Times one workload in jax-js on its WebAssembly device; the whole step, Adam included, is one
// compiled function. `node jax-js.mjs WORKLOAD [--seconds 2]` or `node jax-js.mjs --version`;
// prints one line of JSON.
import { NUM_ROWS, loadPackage, runPeer, syntheticValues } from './peer.mjs';

const [RATE, BETA1, BETA2, EPSILON] = [0.001, 0.9, 0.999, 1e-8];

await runPeer('jax-js-wasm', async () => {
  const found = loadPackage('@jax-js/jax');
  if (!found) return { skipped: 'not installed: npm ci in bench/peers, or set LOCKSTEP_PEERS' };
  const jax = found.exports;
  await jax.init('wasm');
  jax.defaultDevice('wasm');
  return { version: found.version, prepare: (workload) => prepare(jax, workload) };
});

/**
 * An async function that takes the next optimizer step. jax-js counts references: a use
 * beyond the first is `.ref`.
 */
function prepare(jax, workload) {
  const { numpy: np, tree } = jax;
  let params = initialParameters(np, workload);
  const zeros = () => tree.map((value) => np.zeros(value.shape), tree.ref(params));
  let [m, v] = [zeros(), zeros()];
  const trainStep = jax.jit((p, m0, v0, corrections, x, y) => {
    const [loss, gradient] = jax.valueAndGrad((q) => lossOf(jax, workload, q, x, y))(tree.ref(p));
    return [...adam(np, tree, p, gradient, m0, v0, corrections), loss];
  });
  const batches = batchesOf(np, workload);
  let numSteps = 0;
  return async () => {
    const { x, y } = batches[numSteps % batches.length];
    numSteps++;
    const corrections = np.array([1 - BETA1 ** numSteps, 1 - BETA2 ** numSteps]);
    const [p1, m1, v1, loss] = trainStep(params, m, v, corrections, x.ref, y.ref);
    [params, m, v] = [p1, m1, v1];
    // A read waits until the step is done.
    await loss.data();
  };
}

/** Parameters, first and second moments after a step of Adam; takes ownership of all that it is given. */
function adam(np, tree, params, gradient, m, v, corrections) {
  const m1 = tree.map((old, g) => old.mul(BETA1).add(g.mul(1 - BETA1)), m, tree.ref(gradient));
  const v1 = tree.map((old, g) => old.mul(BETA2).add(np.square(g).mul(1 - BETA2)), v, gradient);
  const [c1, c2] = [corrections.ref.slice(0), corrections.slice(1)];
  const move = (p, first, second) => {
    const denominator = np.sqrt(second.div(c2.ref)).add(EPSILON);
    return p.sub(first.div(c1.ref).div(denominator).mul(RATE));
  };
  const next = tree.map(move, params, tree.ref(m1), tree.ref(v1));
  c1.dispose();
  c2.dispose();
  return [next, m1, v1];
}

/** Mean loss of a batch; takes ownership of x and y. */
function lossOf({ numpy: np, nn, lax }, { layers, loss }, params, x, y) {
  let [value, next] = [x, 0];
  for (const { kind, activation, size } of layers) {
    if (kind === 'dense') value = np.dot(value, params[next].weight).add(params[next++].bias);
    else if (kind === 'conv2d')
      value = lax.conv(value, params[next].weight, [1, 1], 'SAME').add(params[next++].bias);
    else if (kind === 'maxPool2d')
      value = lax.reduceWindow(value, (window) => np.max(window), [size, size], [size, size]);
    else if (kind === 'flatten') value = value.reshape([value.shape[0], -1]);
    else throw new Error(`no function of jax-js is known for a layer of kind ${kind}`);
    if (activation === 'relu') value = nn.relu(value);
  }
  if (loss === 'mse') return np.square(value.sub(y)).mean();
  return nn.logSoftmax(value).mul(y).sum(1).mean().mul(-1);
}

function initialParameters(np, { inputShape, layers }) {
  const params = [];
  let shape = inputShape;
  const draw = (dimensions, fanIn) => {
    const values = syntheticValues(dimensions.reduce((a, b) => a * b, 1));
    return np.array(values.map((value) => (2 * value) / Math.sqrt(fanIn))).reshape(dimensions);
  };
  for (const { kind, units, filters, kernelSize, size } of layers) {
    if (kind === 'dense') {
      params.push({ weight: draw([shape[0], units], shape[0]), bias: np.zeros([units]) });
      shape = [units];
    } else if (kind === 'conv2d') {
      const fanIn = shape[0] * kernelSize * kernelSize;
      const weight = draw([filters, shape[0], kernelSize, kernelSize], fanIn);
      params.push({ weight, bias: np.zeros([filters, 1, 1]) });
      shape = [filters, shape[1], shape[2]];
    } else if (kind === 'maxPool2d') {
      shape = [shape[0], Math.floor(shape[1] / size), Math.floor(shape[2] / size)];
    } else if (kind === 'flatten') shape = [shape[0] * shape[1] * shape[2]];
  }
  return params;
}

/** All batches of the dataset as arrays of their own: {x, y}. */
function batchesOf(np, { inputShape, layers, loss, batchSize }) {
  const { units } = layers.at(-1);
  return Array.from({ length: NUM_ROWS / batchSize }, () => {
    const width = inputShape.reduce((a, b) => a * b, 1);
    const x = np.array(syntheticValues(batchSize * width)).reshape([batchSize, ...inputShape]);
    const targets =
      loss === 'mse'
        ? syntheticValues(batchSize * units)
        : Float32Array.from({ length: batchSize * units }, (_, i) =>
            Math.floor(i / units) % units === i % units ? 1 : 0,
          );
    return { x, y: np.array(targets).reshape([batchSize, units]) };
  });
}
