// Times one workload in TensorFlow.js on its WebAssembly backend (SIMD, one thread).
// `node tfjs.mjs WORKLOAD [--seconds 2]` or `node tfjs.mjs --version`; prints one line of JSON.
import path from 'node:path';
import { NUM_ROWS, batchStart, loadPackage, runPeer, syntheticValues } from './peer.mjs';

await runPeer('tfjs-wasm', async () => {
  const core = loadPackage('@tensorflow/tfjs');
  const wasm = loadPackage('@tensorflow/tfjs-backend-wasm');
  if (!core || !wasm) return { skipped: 'not installed: npm ci in bench/peers, or set LOCKSTEP_PEERS' };
  const tf = core.exports;
  wasm.exports.setWasmPaths(`${path.join(wasm.folder, 'dist')}${path.sep}`);
  await tf.setBackend('wasm');
  await tf.ready();
  return { version: core.version, prepare: (workload) => prepare(tf, workload) };
});

/** An async function that takes the next optimizer step. */
function prepare(tf, workload) {
  const { batchSize } = workload;
  const model = tf.sequential({ layers: workload.layers.map((layer, i) => layerOf(tf, workload, layer, i)) });
  const optimizer = tf.train.adam(0.001);
  const lossOf = lossFunction(tf, workload);
  // Images are [height, width, channels] here.
  const width = tf.util.sizeFromShape(workload.inputShape);
  const features = tf.tensor2d(syntheticValues(NUM_ROWS * width), [NUM_ROWS, width]);
  const targets = targetsOf(tf, workload);
  let numSteps = 0;
  return async () => {
    const start = batchStart(numSteps++, batchSize);
    const loss = tf.tidy(() => {
      const x = features.slice([start, 0], [batchSize, width]).reshape([batchSize, ...shapeOf(workload)]);
      const y = targets.slice([start, 0], [batchSize, targets.shape[1]]);
      return optimizer.minimize(() => lossOf(y, model.apply(x, { training: true })), true);
    });
    // A read waits until the step is done.
    await loss.data();
    loss.dispose();
  };
}

function shapeOf({ inputShape }) {
  const [channels, ...image] = inputShape;
  return image.length === 0 ? inputShape : [...image, channels];
}

function layerOf(tf, workload, layer, index) {
  const common = index === 0 ? { inputShape: shapeOf(workload) } : {};
  const { kind, activation } = layer;
  switch (kind) {
    case 'dense':
      return tf.layers.dense({ ...common, units: layer.units, activation });
    case 'conv2d': {
      const { filters, kernelSize, padding } = layer;
      return tf.layers.conv2d({ ...common, filters, kernelSize, padding, activation });
    }
    case 'maxPool2d':
      return tf.layers.maxPooling2d({ poolSize: layer.size });
    case 'flatten':
      return tf.layers.flatten();
    default:
      throw new Error(`no layer of TensorFlow.js is known for kind ${kind}`);
  }
}

function lossFunction(tf, { loss }) {
  return loss === 'mse'
    ? (y, outputs) => tf.losses.meanSquaredError(y, outputs)
    : (y, logits) => tf.losses.softmaxCrossEntropy(y, logits);
}

function targetsOf(tf, { layers, loss }) {
  const { units } = layers.at(-1);
  if (loss === 'mse') return tf.tensor2d(syntheticValues(NUM_ROWS * units), [NUM_ROWS, units]);
  const labels = Int32Array.from({ length: NUM_ROWS }, (_, row) => row % units);
  return tf.oneHot(tf.tensor1d(labels, 'int32'), units).toFloat();
}
