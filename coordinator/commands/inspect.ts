// `lockstep inspect`: what a path or a config holds.
import path from 'node:path';
import { loadConfig } from '../../src/config/load.ts';
import { isObjectUrl } from '../../src/config/object-url.ts';
import { loadData } from '../../src/data/load.ts';
import { hostMath } from '../../src/kernels/host-math.ts';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { Memory } from '../../src/memory.ts';
import { LockstepError } from '../../src/errors.ts';
import { readRegularFile } from '../../src/regular-file.ts';
import { reportConfig, reportData } from '../../src/inspect/data-report.ts';
import type { DataReport } from '../../src/inspect/data-report.ts';
import { findData } from '../../src/inspect/find-data.ts';
import { fetchConfigObjects, localPath } from '../object-storage/fetch-objects.ts';
import type { KnownData } from '../../src/inspect/find-data.ts';

/** Settings of a look at data. */
export interface InspectOptions extends KnownData {
  readonly target?: string | undefined;
  readonly warn: (message: string) => void;
  readonly say: (message: string) => void;
}

/** Reports on data, or on those of a config. @throws LockstepError where they cannot be read */
export async function inspect(
  place: string,
  { delimiter, labels, say, target, warn }: InspectOptions,
): Promise<DataReport> {
  if (!(await isConfig(place))) {
    const data = await localPath(place, { say });
    const known = { labels: labels && (await localPath(labels, { say })), delimiter };
    return reportData(await findData(data, known), target);
  }
  const given = Object.entries({ target, labels, delimiter }).find(([, value]) => value !== undefined);
  if (given) throw configSays(`--${given[0]}`);
  const { config } = await fetchConfigObjects((await loadConfig({ path: place })).config, { say });
  const module = await loadKernelModule(config.numerics);
  const math = hostMath(await instantiateKernels(module, new Memory().wasm));
  return reportConfig(config, await loadData({ config, math, warn }));
}

/** Tables may be JSON too: a config is a mapping with a model. */
async function isConfig(place: string): Promise<boolean> {
  if (isObjectUrl(place)) return false;
  const ending = path.extname(place).toLowerCase();
  if (ending === '.yaml' || ending === '.yml') return true;
  if (ending !== '.json') return false;
  try {
    const value: unknown = JSON.parse((await readRegularFile(path.resolve(place), 2 ** 20)).toString('utf8'));
    return (
      typeof value === 'object' &&
      value !== null &&
      'model' in value &&
      'data' in value &&
      !Array.isArray(value.data)
    );
  } catch {
    return false;
  }
}

function configSays(flag: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_INSPECT',
    message: `${flag} is for data without a config`,
    help: `leave it out: the config says it`,
  });
}
