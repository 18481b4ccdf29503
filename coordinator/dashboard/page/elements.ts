// Elements of the page. Names and texts of a run come from others, so they become text nodes, never markup.

/** Finds an element of the page. @throws Error where the page has none of this id */
export function byId<Type extends HTMLElement = HTMLElement>(id: string): Type {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as Type;
}

/** Makes an element with a class and children. */
export function create<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className = '',
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Makes an element of a drawing. */
export function createDrawn(
  tag: string,
  attributes: Readonly<Record<string, string | number>>,
  text?: string,
): SVGElement {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Makes a table: names of columns, then rows, each with a head. */
export function createTable(
  caption: string,
  columns: readonly string[],
  rows: readonly (readonly string[])[],
): HTMLTableElement {
  const head = create('tr', '', ...columns.map((name) => headCell(name, 'col')));
  const body = rows.map(([first = '', ...rest]) =>
    create('tr', '', headCell(first, 'row'), ...rest.map((text) => create('td', '', text))),
  );
  return create(
    'table',
    '',
    create('caption', '', caption),
    create('thead', '', head),
    create('tbody', '', ...body),
  );
}

function headCell(text: string, scope: 'col' | 'row'): HTMLTableCellElement {
  const cell = create('th', '', text);
  cell.scope = scope;
  return cell;
}
