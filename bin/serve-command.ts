// `lockstep serve`: predictions over HTTP with a run's model, until a signal ends it.
import { once } from 'node:events';
import { LockstepError } from '../src/errors.ts';
import { readRunMetrics } from '../src/predict/run-metrics.ts';
import { loadModel } from '../src/predict/load-model.ts';
import { hostAndPort, isLoopback } from '../src/protocol/connection.ts';
import { plainTraffic, serverTlsOf, type TlsFlags } from '../src/protocol/tls.ts';
import { readToken } from '../src/protocol/token.ts';
import { startServer } from '../src/serve/server.ts';
import { createRuntime } from './runtime.ts';

/** Arguments of `lockstep serve`. */
export interface ServeArguments extends TlsFlags {
  readonly port: number;
  readonly host: string;
  readonly tokenFile?: string;
}

/** Serves the model of a run. @throws the reason of the signal that ends it */
export async function serve(
  run: string,
  { port, host, tokenFile, ...tlsFlags }: ServeArguments,
): Promise<void> {
  const { log, signal } = createRuntime();
  const tls = serverTlsOf(tlsFlags);
  const token = readToken({ file: tokenFile, env: process.env, warn: (message) => log.warn(message) });
  if (token === undefined && !isLoopback(host)) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_TOKEN_REQUIRED',
      message: `listening on ${host} without a token would let anyone predict who reaches the port`,
      help: 'give --token-file FILE or set LOCKSTEP_TOKEN, or listen on 127.0.0.1',
    });
  }
  let warnings: string[] = [];
  const model = await loadModel(run, { warn: (message) => warnings.push(message) });
  const server = await startServer({
    model,
    metrics: await readRunMetrics(model),
    takeWarnings: () => {
      const taken = warnings;
      warnings = [];
      return taken;
    },
    host,
    port,
    token,
    tls,
    log,
    onBug: (error) => log.error(error instanceof Error ? (error.stack ?? error.message) : String(error)),
  });
  if (!tls && !isLoopback(host)) log.warn(plainTraffic(host));
  log.info(`serving ${model.name} on ${tls ? 'https' : 'http'}://${hostAndPort(host, server.port)}`);
  if (!signal.aborted) await once(signal, 'abort');
  await server.close();
  signal.throwIfAborted();
}
