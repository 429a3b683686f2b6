// @ts-check
/** Making elements. Texts are text: many are a host's, and none is ever HTML. */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name @param {Partial<HTMLElementTagNameMap[K]>} [properties]
 * @param {(Node|string)[]} inside
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(name, properties = {}, ...inside) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...inside);
  return made;
}

/**
 * @param {string} text @param {() => void} act
 * @param {string} [label] what a screen reader says, where the text alone does not tell enough
 * @returns {HTMLButtonElement}
 */
export function button(text, act, label) {
  const made = element('button', { type: 'button', className: 'sshpyk-button', textContent: text });
  if (label !== undefined) {
    made.setAttribute('aria-label', label);
  }
  made.addEventListener('click', act);
  return made;
}

/**
 * @param {string} caption @param {string[]} heads @param {(Node|string)[][]} rows
 * @returns {HTMLTableElement}
 */
export function table(caption, heads, rows) {
  const cells = heads.map(head => element('th', { scope: 'col', textContent: head }));
  return element(
    'table',
    { className: 'sshpyk-table' },
    element('caption', { textContent: caption }),
    element('thead', {}, element('tr', {}, ...cells)),
    element('tbody', {}, ...rows.map(row => element('tr', {}, ...row.map(cell => element('td', {}, cell)))))
  );
}
