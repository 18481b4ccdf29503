// Trains a model of the areas of shapes, and serves a page that predicts with it. Any web server of files
// will do: it needs the page, the model's folder, and the package's dist/api/predict.js with the kernels.
//   node examples/browser/serve.mjs [PORT]
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { dense, sequential, train } from 'lockstep';

const rows = Array.from({ length: 200 }, (_, i) => {
  const [width, height, shape] = [i % 20, i % 7, i % 3 ? 'box' : 'roof'];
  return { width, height, shape, area: shape === 'box' ? width * height : (width * height) / 2 };
});
const { directory } = await train({
  name: 'areas',
  data: { train: rows, target: 'area', targetTransform: ['standardize'] },
  model: sequential([dense({ units: 32, activation: 'relu' }), dense({ units: 1 })]),
  loss: 'mse',
  batchSize: 16,
  epochs: 20,
});

const folders = {
  '/model/': path.join(directory, 'model'),
  '/lockstep/': fileURLToPath(new URL('..', import.meta.resolve('lockstep/predict'))),
  '/': fileURLToPath(new URL('.', import.meta.url)),
};
const types = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json' };

const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  const [prefix, folder] = Object.entries(folders).find(([prefix]) => pathname.startsWith(prefix));
  const file = path.join(folder, pathname.slice(prefix.length) || 'index.html');
  const stream = fs.createReadStream(file);
  stream.on('open', () =>
    response.setHeader('Content-Type', types[path.extname(file)] ?? 'application/octet-stream'),
  );
  stream.on('error', () => response.writeHead(404).end());
  stream.pipe(response);
});
server.listen(Number(process.argv[2] ?? 8000), '127.0.0.1', () =>
  console.log(`http://localhost:${server.address().port}/`),
);
