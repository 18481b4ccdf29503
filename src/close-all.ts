// Closing several things of which each must be closed, whatever becomes of the others.

/**
 * Calls them in order, each once the one before it is done. Rejects with the first
 * failure, after the last call.
 */
export async function closeAll(closers: readonly (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const close of closers) {
    try {
      await close();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
