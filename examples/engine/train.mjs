// A training loop of your own: a loss of your own for classes of which one is rare, a schedule, a metric of
// your own that decides which weights are kept, and a model that the rest of Lockstep can use.
//   node examples/engine/train.mjs [EPOCHS]
import { loadModel } from 'lockstep';
import { createEngine, dense, epochOrder, sequential } from 'lockstep/engine';
import { focalLoss } from './focal-loss.mjs';

const [seed, batchSize, epochs] = [7, 64, Number(process.argv[2] ?? 30)];

// Points of a square; those in a small disk are of the rare class.
const points = Array.from({ length: 2500 }, (_, i) => [((i * 7) % 50) / 25 - 1, ((i * 13) % 53) / 26.5 - 1]);
const labels = points.map(([x, y]) => Number((x - 0.4) * (x - 0.4) + (y + 0.3) * (y + 0.3) < 0.06));
const rows = Uint32Array.from(points.keys());
const batchOf = (indices) => ({
  features: Array.from(indices, (row) => points[row]),
  targets: Array.from(indices, (row) => labels[row]),
  indices,
});
const training = rows.filter((row) => row % 5 !== 0);
const validation = batchOf(rows.filter((row) => row % 5 === 0));

const engine = await createEngine({
  name: 'disk',
  seed,
  inputShape: [2],
  model: sequential([
    dense({ units: 32, activation: 'tanh' }),
    dense({ units: 32, activation: 'tanh' }),
    dense({ units: 2 }),
  ]),
  loss: focalLoss(2),
  optimizer: { kind: 'adamW', learningRate: 0.02 },
  clip: { norm: 1 },
  batchSize,
});
const stepsPerEpoch = Math.ceil(training.length / batchSize);
const schedule = engine.schedule({ kind: 'cosine', warmup: { epochs: 1 } }, { stepsPerEpoch, epochs });

/** The share of the rare class that is found. */
const found = (outputs, targets) => {
  const isRare = (row) => targets[row] === 1;
  const rare = [...targets.keys()].filter(isRare);
  return rare.filter((row) => outputs[2 * row + 1] > outputs[2 * row]).length / rare.length;
};

let best = -1;
for (let epoch = 0; epoch < epochs; epoch++) {
  const order = epochOrder(training, { seed, epoch });
  let lossSum = 0;
  for (let start = 0; start < order.length; start += batchSize) {
    lossSum += engine.backward(batchOf(order.subarray(start, start + batchSize))).lossSum;
    engine.step({ learningRate: schedule.at(engine.stepsDone) });
  }
  const { accuracy, custom } = await engine.evaluate(validation, { metrics: { found } });
  console.log(
    `epoch ${epoch + 1}  loss ${(lossSum / order.length).toFixed(4)}  ` +
      `accuracy ${accuracy.toFixed(3)}  found ${custom.found.toFixed(3)}`,
  );
  if (custom.found + accuracy <= best) continue;
  best = custom.found + accuracy;
  engine.keepBest();
}

engine.use('best');
console.log(`weights sha256 ${engine.weightsSha256}`);
await engine.saveModel('disk-model');
engine.dispose();

const [inside, outside] = (await loadModel('disk-model')).predict([
  [0.4, -0.3],
  [-0.5, 0.5],
]);
console.log(`inside the disk: ${inside.class}, outside: ${outside.class}`);
