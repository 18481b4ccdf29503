// A resolved config as YAML: what --print-config shows and what stands beside a run's results.
import { Document, isCollection, isScalar, visit } from 'yaml';
import type { Config } from './schema.ts';

/** The config as YAML, one layer to a line; it loads back to the same config. */
export function formatConfigYaml(config: Config): string {
  const document = new Document(config, { aliasDuplicateObjects: false });
  visit(document, {
    Seq: (_, list) => {
      list.flow = list.items.every((item) => isScalar(item));
      for (const item of list.items) if (isCollection(item)) item.flow = true;
    },
  });
  return document.toString({ lineWidth: 0 });
}
