// The version of this package, from its package.json.
import { createRequire } from 'node:module';

const packageJson = createRequire(import.meta.url)('#package.json') as { version: string };

/** The version of this package, for example `0.1.0`. */
export const VERSION: string = packageJson.version;
