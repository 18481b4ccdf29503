// The loop that `train` runs, written out: the same batches, steps and learning rates give the same weights,
// bit for bit.
//   node examples/engine/same-bits.mjs [EPOCHS]
import { dense, dropout, sequential, train } from 'lockstep';
import { createEngine, epochOrder } from 'lockstep/engine';

const [seed, batchSize, epochs] = [3, 32, Number(process.argv[2] ?? 5)];
const features = Array.from({ length: 500 }, (_, i) => [((i * 7) % 20) / 10 - 1, ((i * 11) % 23) / 11 - 1]);
const targets = features.map(([x, y]) => x * y);
const parts = {
  seed,
  batchSize,
  model: sequential([dense({ units: 32, activation: 'gelu' }), dropout({ rate: 0.1 }), dense({ units: 1 })]),
  loss: 'mse',
  optimizer: { kind: 'adam', learningRate: 0.003 },
};

const { summary } = await train({
  ...parts,
  name: 'product',
  data: { train: { features, targets }, standardize: false, split: { validation: 0, test: 0 } },
  schedule: { kind: 'oneCycle' },
  epochs,
});

const engine = await createEngine({ ...parts, inputShape: [2] });
const stepsPerEpoch = Math.ceil(features.length / batchSize);
const schedule = engine.schedule({ kind: 'oneCycle' }, { stepsPerEpoch, epochs });
for (let epoch = 0; epoch < epochs; epoch++) {
  const order = epochOrder(features.length, { seed, epoch });
  for (let start = 0; start < order.length; start += batchSize) {
    const indices = order.subarray(start, start + batchSize);
    engine.backward({
      features: Array.from(indices, (row) => features[row]),
      targets: Array.from(indices, (row) => targets[row]),
      // Dropout draws by them.
      indices,
    });
    engine.step({ learningRate: schedule.at(engine.stepsDone) });
  }
}
console.log(`train:   weights sha256 ${summary.weightsSha256}`);
console.log(`by hand: weights sha256 ${engine.weightsSha256}`);
