// Addresses of objects, and the package that reads them.
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { fileNameOf } from '../../../../coordinator/object-storage/fetch-objects.ts';
import { parseObjectUrl } from '../../../../src/config/object-url.ts';
import { ROOT } from '../../../helpers/cli.ts';

it('an address of an object has a bucket and a key, which ends in no slash', () => {
  expect(parseObjectUrl('s3://my-bucket/a/b c.csv')).toEqual({ bucket: 'my-bucket', key: 'a/b c.csv' });
  expect(parseObjectUrl('s3://my-bucket/runs//')).toEqual({ bucket: 'my-bucket', key: 'runs' });
  for (const wrong of [
    's3://',
    's3://bucket',
    's3://bucket/',
    's3:///key',
    's3://-b/key',
    's3://b/k\n',
    'x.csv',
  ])
    expect(parseObjectUrl(wrong), wrong).toBeUndefined();
});

it('the copy of an object has the last part of its key as its name, where that can be one', () => {
  expect(fileNameOf('tables/a b.csv.gz')).toBe('a b.csv.gz');
  expect(fileNameOf('tables/..')).toBe('object');
  expect(fileNameOf('tables/.')).toBe('object');
  const name = fileNameOf(`tables/${'\u65e5'.repeat(300)}.csv`);
  expect(name).toMatch(/\.csv$/);
  // Beside it stands a temporary one, with 18 characters more.
  expect(Buffer.byteLength(name) + 18).toBeLessThanOrEqual(255);
});

it('the tests, the image, the docs and a message name one version of the SDK', () => {
  const read = (file: string): string => fs.readFileSync(path.join(ROOT, file), 'utf8');
  const { devDependencies } = JSON.parse(read('package.json')) as { devDependencies: Record<string, string> };
  const names = ['@aws-sdk/client-s3', '@aws-sdk/lib-storage'];
  const packages = names.map((name) => `${name}@${devDependencies[name]}`).join(' ');
  for (const file of [
    'deploy/docker/Dockerfile',
    'docs/object-storage.md',
    'coordinator/object-storage/object-store.ts',
  ])
    expect(read(file), file).toContain(packages);
});
