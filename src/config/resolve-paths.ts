// The paths that a config names, made absolute.
import { resolve } from 'node:path';
import { isTableSource, type DataSource, type NpySource, type TableSource } from './data-sources.ts';
import type { Config } from './schema.ts';

function resolveTable(source: TableSource, baseDirectory: string): TableSource {
  if (typeof source === 'string') return resolve(baseDirectory, source);
  return source.map((file) => resolve(baseDirectory, file));
}

function resolveNpy({ npz, features, targets, weights }: NpySource, baseDirectory: string): NpySource {
  if (npz !== undefined) return { npz: resolve(baseDirectory, npz), features, targets, weights };
  const at = (file: string): string => resolve(baseDirectory, file);
  return {
    features: at(features),
    targets: at(targets),
    ...(weights !== undefined && { weights: at(weights) }),
  };
}

/** The config with every path absolute, resolved against `baseDirectory`. Absolute paths stay as they are. */
export function resolveConfigPaths(config: Config, baseDirectory: string): Config {
  const { data, model } = config;
  return {
    ...config,
    data: {
      ...data,
      ...(data.file !== undefined && { file: resolveTable(data.file, baseDirectory) }),
      ...(data.train !== undefined && { train: resolveSource(data.train, baseDirectory) }),
      ...(data.validation !== undefined && { validation: resolveSource(data.validation, baseDirectory) }),
      ...(data.test !== undefined && { test: resolveSource(data.test, baseDirectory) }),
    },
    model: { ...model, ...(model.init !== undefined && { init: resolve(baseDirectory, model.init) }) },
  };
}

/** A source with its paths absolute. */
export function resolveSource(source: DataSource, baseDirectory: string): DataSource {
  if (isTableSource(source)) return resolveTable(source, baseDirectory);
  if ('arrays' in source || 'rows' in source) return source;
  if ('text' in source) return { text: resolve(baseDirectory, source.text) };
  if ('features' in source) return resolveNpy(source, baseDirectory);
  if ('folder' in source) return { folder: resolve(baseDirectory, source.folder) };
  return { images: resolve(baseDirectory, source.images), labels: resolve(baseDirectory, source.labels) };
}
