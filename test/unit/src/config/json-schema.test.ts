// The schema that editors read, built from the one that configs are checked against.
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { ROOT } from '../../../helpers/cli.ts';

const FILE = path.join(ROOT, 'dist/config.schema.json');

const schema = z.fromJSONSchema(JSON.parse(fs.readFileSync(FILE, 'utf8')) as z.core.JSONSchema.JSONSchema);
const examples = fs
  .readdirSync(path.join(ROOT, 'examples'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.yaml'));

function readExample(name: string): object {
  return parse(fs.readFileSync(path.join(ROOT, 'examples', name), 'utf8')) as object;
}

test.each(examples)('the schema for editors accepts examples/%s', (name) => {
  expect(schema.safeParse(readExample(name)).error).toBeUndefined();
});

test.each([
  ['an unknown key', { epoch: 3 }],
  ['a number out of range', { shards: 0 }],
  ['an unknown kind of layer', { model: { layers: [{ kind: 'dens', units: 1 }] } }],
  ['an unknown loss', { loss: 'mean' }],
])('the schema for editors refuses %s', (_, change) => {
  const config = readExample('house/house.yaml');
  expect(schema.safeParse(config).success).toBe(true);
  expect(schema.safeParse({ ...config, ...change }).success).toBe(false);
});
