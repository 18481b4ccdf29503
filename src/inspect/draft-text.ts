// The text of a drafted config, with the reasons as comments.
import { isCollection, isMap, isScalar, isSeq, Document, visit } from 'yaml';
import type { Pair, Scalar } from 'yaml';
import { formatKeyPath } from '../config/problem.ts';
import type { ConfigInput } from '../config/schema.ts';

/** Comments longer than this stand above what they are about. */
const MAX_LINE = 100;

/** The text of a config with comments, by key path: layers and rules one to a line. */
export function formatDraft(config: ConfigInput, comments: ReadonlyMap<string, string>): string {
  const document = new Document(config, { aliasDuplicateObjects: false });
  visit(document, {
    Seq: (_, list) => {
      list.flow = list.items.every((item) => isScalar(item));
      for (const item of list.items) if (isCollection(item)) item.flow = true;
    },
  });
  const { contents } = document;
  if (isMap(contents)) addComments(contents.items, [], comments);
  return document.toString({ lineWidth: 0, flowCollectionPadding: true });
}

const INLINE = new Set([
  'train',
  'validation',
  'test',
  'split',
  'optimizer',
  'schedule',
  'earlyStopping',
  'clip',
]);

function addComments(
  pairs: readonly Pair[],
  prefix: readonly string[],
  comments: ReadonlyMap<string, string>,
): void {
  for (const { key, value } of pairs) {
    const name = (key as Scalar<string>).value;
    const keys = [...prefix, name];
    const isRule = formatKeyPath(prefix) === 'data.columns';
    if (isMap(value) && (INLINE.has(name) || isRule)) value.flow = true;
    if (isSeq(value) && name === 'drop') value.flow = false;
    const comment = comments.get(formatKeyPath(keys));
    if (isSeq(value) && !value.flow) addItemComments(value.items as Scalar[], formatKeyPath(keys), comments);
    if (comment !== undefined) {
      const isBlock = isCollection(value) && !value.flow;
      const isLong = JSON.stringify(value).length + name.length + comment.length > MAX_LINE;
      if (isBlock || isLong) (key as Scalar).commentBefore = ` ${comment}`;
      else if (isScalar(value) || isCollection(value)) value.comment = ` ${comment}`;
    }
    if (isMap(value) && !value.flow) addComments(value.items, keys, comments);
  }
}

function addItemComments(
  items: readonly Scalar[],
  name: string,
  comments: ReadonlyMap<string, string>,
): void {
  for (const [at, item] of items.entries()) {
    const comment = comments.get(`${name}.${at}`);
    if (comment !== undefined) item.comment = ` ${comment.replaceAll(/\s+/g, ' ')}`;
  }
}
