// Trains, predicts and measures from a program: house prices again, but the config is an object,
// and the model that comes out is used at once. Copy it: in a package that depends on Lockstep only
// `baseDirectory`, where the data is, must change.
//   node examples/api/train.mjs [EPOCHS]
import { fileURLToPath } from 'node:url';
import { dense, evaluate, loadModel, sequential, train } from 'lockstep';

const { summary, directory } = await train(
  {
    name: 'prices',
    seed: 7,
    data: { file: 'house.csv.gz', target: 'price', targetTransform: ['log', 'standardize'] },
    model: sequential([
      dense({ units: 64, activation: 'relu' }),
      dense({ units: 64, activation: 'relu' }),
      dense({ units: 1 }),
    ]),
    loss: 'mse',
    epochs: Number(process.argv[2] ?? 10),
  },
  {
    baseDirectory: fileURLToPath(new URL('../house', import.meta.url)),
    onEpoch: ({ epoch, trainLoss }) => console.log(`epoch ${epoch}  loss ${trainLoss.toFixed(4)}`),
  },
);
console.log(`weights sha256 ${summary.weightsSha256}`);

const model = await loadModel(directory);
// The columns of the table, but for the price; null would be a missing value.
const house = {
  ...{
    yrbuilt: 1957,
    stories: 'one',
    TLA: 920,
    wall: 'metlvnyl',
    beds: 2,
    baths: 1,
    halfbaths: 0,
    frontage: 100,
  },
  ...{ depth: 0, garage: 'detached', garagesqft: 308, rooms: 4, lotsize: 37900, syear: 1997, age: 0.42 },
  ...{ long: 484875.57, lat: 195301.28 },
};
for (const { values } of model.predict([house, { ...house, baths: 2, TLA: 1840 }])) {
  console.log(`predicted price: $${values.price.toFixed(0)}`);
}

const { r2 } = await evaluate(model, { split: 'test' });
console.log(`test/r2 ${r2.toFixed(4)}; equal to the run's: ${r2 === summary.test.r2}`);
