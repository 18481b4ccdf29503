// The paths that a config names, made absolute, or replaced.
import { resolve } from 'node:path';
import { isTableSource, type DataSource, type NpySource, type TableSource } from './data-sources.ts';
import { isObjectUrl } from './object-url.ts';
import type { Config } from './schema.ts';

type Replace = (path: string) => string;

function mapTable(source: TableSource, replace: Replace): TableSource {
  return typeof source === 'string' ? replace(source) : source.map(replace);
}

function mapNpy({ npz, features, targets, weights }: NpySource, replace: Replace): NpySource {
  if (npz !== undefined) return { npz: replace(npz), features, targets, weights };
  return {
    features: replace(features),
    targets: replace(targets),
    ...(weights !== undefined && { weights: replace(weights) }),
  };
}

/** The config with every path of data and weights replaced. */
export function mapConfigPaths(config: Config, replace: Replace): Config {
  const { data, model } = config;
  return {
    ...config,
    data: {
      ...data,
      ...(data.file !== undefined && { file: mapTable(data.file, replace) }),
      ...(data.train !== undefined && { train: mapSource(data.train, replace) }),
      ...(data.validation !== undefined && { validation: mapSource(data.validation, replace) }),
      ...(data.test !== undefined && { test: mapSource(data.test, replace) }),
    },
    model: { ...model, ...(model.init !== undefined && { init: replace(model.init) }) },
  };
}

/** Makes paths absolute, resolved against `baseDirectory`; absolute ones and `s3://` stay as they are. */
function resolveFrom(baseDirectory: string): Replace {
  return (path) => (isObjectUrl(path) ? path : resolve(baseDirectory, path));
}

/** The config with every path absolute, resolved against `baseDirectory`; addresses of objects stay. */
export function resolveConfigPaths(config: Config, baseDirectory: string): Config {
  return mapConfigPaths(config, resolveFrom(baseDirectory));
}

/** A source with its paths absolute. */
export function resolveSource(source: DataSource, baseDirectory: string): DataSource {
  return mapSource(source, resolveFrom(baseDirectory));
}

function mapSource(source: DataSource, replace: Replace): DataSource {
  if (isTableSource(source)) return mapTable(source, replace);
  if ('arrays' in source || 'rows' in source) return source;
  if ('text' in source) return { text: replace(source.text) };
  if ('features' in source) return mapNpy(source, replace);
  if ('folder' in source) return { folder: replace(source.folder) };
  return { images: replace(source.images), labels: replace(source.labels) };
}
