// The builds of the kernels that a worker of Node.js can compute with.
import { loadFusedModule, loadKernelModule } from '../src/kernels/load-kernels.ts';
import { proveBuilds } from '../src/known-answer.ts';
import type { KernelBuilds } from '../src/known-answer.ts';

/** Loads the strict build, and the fused one where this Node.js can. @throws LockstepError without SIMD. */
export async function loadKernelBuilds(): Promise<KernelBuilds> {
  return proveBuilds(await loadKernelModule('strict'), await loadFusedModule());
}
