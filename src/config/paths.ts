// The files that a config names, made absolute: they are relative to the config file, wherever the command runs.
import { resolve } from 'node:path';
import type { DataSource } from './data-kind.ts';
import type { Config } from './schema.ts';

/** The config with every path absolute, resolved against `baseDirectory`. Absolute paths stay as they are. */
export function resolveConfigPaths(config: Config, baseDirectory: string): Config {
  const { data, model } = config;
  return {
    ...config,
    data: {
      ...data,
      ...(data.file !== undefined && { file: resolve(baseDirectory, data.file) }),
      ...(data.train !== undefined && { train: resolveSource(data.train, baseDirectory) }),
      ...(data.validation !== undefined && { validation: resolveSource(data.validation, baseDirectory) }),
      ...(data.test !== undefined && { test: resolveSource(data.test, baseDirectory) }),
    },
    model: { ...model, ...(model.init !== undefined && { init: resolve(baseDirectory, model.init) }) },
  };
}

/** A source with its paths absolute. */
export function resolveSource(source: DataSource, baseDirectory: string): DataSource {
  if (typeof source === 'string') return resolve(baseDirectory, source);
  if ('arrays' in source) return source;
  if ('text' in source) return { text: resolve(baseDirectory, source.text) };
  return { images: resolve(baseDirectory, source.images), labels: resolve(baseDirectory, source.labels) };
}
