// @ts-check
/** The form for a remote kernel's settings: those that are set, and any that is added. */

import { button, element } from './dom.js';

/**
 * @typedef {object} Setting
 * @property {string} name
 * @property {'text'|'list'|'dict'|'int'|'float'|'bool'|'enum'} kind
 * @property {string[]} choices
 * @property {string} help
 */

export class Settings {
  /**
   * @param {import('./cards.js').Card} card
   * @param {Setting[]} settings all that there are
   * @param {import('./words.js').Words} words
   */
  constructor(card, settings, words) {
    this._settings = settings;
    this._words = words;
    this._config = card.config;
    /** @type {Map<string, () => any>} what gives the value of each setting that is shown */
    this._values = new Map();
    const { say } = words;
    this._name = element('input', { className: 'jp-mod-styled', value: card.display_name });
    this._rows = element('div', { className: 'sshpyk-settings' });
    this._more = element('select', { className: 'jp-mod-styled' });
    this._more.addEventListener('change', () => this._add(this._more.value));
    this.node = element(
      'div',
      { className: 'sshpyk-settings' },
      element('label', {}, say('Name in Jupyter'), this._name),
      this._rows,
      element('label', {}, say('Set more'), this._more)
    );
    for (const name of Object.keys(card.config)) {
      this._add(name);
    }
    this._offer();
  }

  /** What the server is to be told. */
  get value() {
    const config = Object.fromEntries([...this._values].map(([name, value]) => [name, value()]));
    return { display_name: this._name.value, config };
  }

  _offer() {
    const rest = this._settings.filter(setting => !this._values.has(setting.name));
    const first = element('option', { value: '', textContent: '—' });
    this._more.replaceChildren(
      first,
      ...rest.map(({ name, help }) => element('option', { value: name, textContent: name, title: help }))
    );
  }

  /** @param {string} name */
  _add(name) {
    if (name === '' || this._values.has(name)) {
      return;
    }
    const { say } = this._words;
    const setting = this._settings.find(setting => setting.name === name);
    const given = this._config[name];
    const { node, value } = setting === undefined ? asJson(given) : field(setting, given);
    this._values.set(name, value);
    const row = element(
      'div',
      { className: 'sshpyk-setting' },
      element('label', {}, name, node),
      button(
        say('Unset'),
        () => {
          this._values.delete(name);
          row.remove();
          this._offer();
        },
        say('Unset %1', name)
      ),
      element('small', { textContent: setting?.help ?? '' })
    );
    this._rows.append(row);
    this._offer();
  }
}

/** @param {Setting} setting @param {any} given @returns {{node: HTMLElement, value: () => any}} */
function field(setting, given) {
  const className = 'jp-mod-styled';
  switch (setting.kind) {
    case 'bool': {
      const node = element('input', { type: 'checkbox', checked: given !== false });
      return { node, value: () => node.checked };
    }
    case 'int':
    case 'float': {
      const node = element('input', { className, type: 'number', step: 'any', value: String(given ?? '') });
      return { node, value: () => (node.value === '' ? null : Number(node.value)) };
    }
    case 'enum': {
      const options = setting.choices.map(value => element('option', { value, textContent: value }));
      const node = element('select', { className }, ...options);
      node.value = String(given ?? setting.choices[0]);
      return { node, value: () => node.value };
    }
    case 'list': {
      const lines = Array.isArray(given) ? given.join('\n') : String(given ?? '');
      const node = element('textarea', { className, rows: 2, value: lines });
      return { node, value: () => linesOf(node.value) };
    }
    case 'dict': {
      const lines = Object.entries(given ?? {}).map(([name, value]) => `${name}=${value}`);
      const node = element('textarea', { className, rows: 2, value: lines.join('\n') });
      const pairs = () => linesOf(node.value).map(line => line.split(/=(.*)/s).slice(0, 2));
      return { node, value: () => Object.fromEntries(pairs().map(([name, value]) => [name, value ?? ''])) };
    }
    default: {
      const node = element('input', { className, value: String(given ?? '') });
      return { node, value: () => node.value };
    }
  }
}

/** A setting that is not known stays as it is. @param {any} given */
function asJson(given) {
  return { node: element('code', { textContent: JSON.stringify(given) }), value: () => given };
}

/** @param {string} text @returns {string[]} */
function linesOf(text) {
  return text.split('\n').filter(line => line.trim() !== '');
}
