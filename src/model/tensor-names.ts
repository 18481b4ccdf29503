// Matches tensors by name where files number modules in other ways: `3.weight` is the weight of a
// Sequential's module 3, and what counts is which of its siblings that is. It then does not matter
// whether activations are modules of their own.

/** The numbers of modules in tensors' names, level by level. */
export class ModuleNumbers {
  /** Numbers in ascending order, by the path of the module they are in: '' for the outermost. */
  readonly #numbers = new Map<string, number[]>();

  constructor(names: Iterable<string>) {
    const found = new Map<string, Set<number>>();
    for (const name of names) {
      for (const { path, number } of modulesOf(name)) {
        const siblings = found.get(path) ?? new Set();
        found.set(path, siblings.add(number));
      }
    }
    for (const [path, numbers] of found)
      this.#numbers.set(
        path,
        [...numbers].sort((a, b) => a - b),
      );
  }

  /** Modules with tensors inside the one at `path`. */
  in(path: string): readonly number[] {
    return this.#numbers.get(path) ?? [];
  }
}

/**
 * The name that `name` has in `theirs`: at every level the k-th of its siblings there. A module
 * that `theirs` lacks keeps its number.
 */
export function translateName(name: string, own: ModuleNumbers, theirs: ModuleNumbers): string {
  const components = name.split('.');
  const translated = [...components];
  for (const { path, number, depth } of modulesOf(name)) {
    const place = own.in(path).indexOf(number);
    const other = theirs.in(translated.slice(0, depth).join('.'))[place];
    if (other !== undefined) translated[depth] = String(other);
  }
  return translated.join('.');
}

interface NumberedModule {
  /** Path of the module that it is in. */
  readonly path: string;
  readonly number: number;
  /** Number of path components above it. */
  readonly depth: number;
}

const NUMBER = /^(0|[1-9]\d{0,14})$/;

/** The last component is the tensor's own name. */
function modulesOf(name: string): NumberedModule[] {
  const components = name.split('.');
  return components.slice(0, -1).flatMap((component, depth) => {
    if (!NUMBER.test(component)) return [];
    return [{ path: components.slice(0, depth).join('.'), number: Number(component), depth }];
  });
}
