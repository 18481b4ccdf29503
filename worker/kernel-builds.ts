// The builds of the kernels that this worker can compute with, and the proof of each.
import { knownAnswer } from '../src/known-answer.ts';
import { LockstepError } from '../src/errors.ts';
import { loadKernelModule } from '../src/kernels/kernels.ts';
import type { KernelModule, Numerics } from '../src/kernels/kernels.ts';
import type { KernelIdentities, KernelIdentity } from '../src/protocol/message-types.ts';

/** Compiled builds, and what `hello` says of them. */
export interface KernelBuilds {
  readonly modules: ReadonlyMap<Numerics, KernelModule>;
  readonly identities: KernelIdentities;
}

/** Loads the strict build, and the fused one where this Node.js can. @throws LockstepError without SIMD. */
export async function loadKernelBuilds(): Promise<KernelBuilds> {
  const strict = await loadKernelModule('strict');
  const fused = await loadKernelModule('fused').catch(absentWithoutRelaxedSimd);
  const modules = new Map<Numerics, KernelModule>([['strict', strict]]);
  if (!fused) return { modules, identities: { strict: await identify(strict) } };
  modules.set('fused', fused);
  return { modules, identities: { strict: await identify(strict), fused: await identify(fused) } };
}

function absentWithoutRelaxedSimd(error: unknown): undefined {
  if (error instanceof LockstepError && error.code === 'E_NO_RELAXED_SIMD') return undefined;
  throw error;
}

async function identify(kernelModule: KernelModule): Promise<KernelIdentity> {
  return { sha256: kernelModule.sha256, knownAnswer: await knownAnswer(kernelModule) };
}
