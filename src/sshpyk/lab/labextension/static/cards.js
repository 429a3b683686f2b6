// @ts-check
/** The tab "Remote kernels": looks at hosts, and adds, changes and removes kernels of the launcher. */

import { button, element, table } from './dom.js';
import { Settings } from './settings.js';

/**
 * @typedef {object} Card a remote kernel of the launcher
 * @property {string} name
 * @property {string} display_name
 * @property {string} host
 * @property {Record<string, any>} config
 *
 * @typedef {object} Offer a kernel that could be added
 * @property {number} number
 * @property {string} kernel
 * @property {string} environment
 * @property {string} language
 * @property {string} version
 * @property {string} ipykernel
 * @property {string} path
 * @property {string} trouble why it can't be used
 * @property {boolean} installed whether there is a kernel, and not only an environment
 * @property {string} display_name
 */

export class Cards {
  /**
   * @param {import('./server.js').Server} server
   * @param {import('./words.js').Words} words
   * @param {any} actions
   * @param {typeof import('@jupyterlab/apputils')} apputils Lab's
   * @param {typeof import('@lumino/widgets')} widgets Lumino's
   * @param {() => Promise<void>} refresh has the launcher look anew
   */
  constructor(server, words, actions, apputils, widgets, refresh) {
    this._server = server;
    this._words = words;
    this._actions = actions;
    this._apputils = apputils;
    this._widgets = widgets;
    this._refresh = refresh;
    /** @type {AbortController?} what ends the work that is under way */
    this._work = null;
    /** @type {import('./settings.js').Setting[]} */
    this._settings = [];

    const { say } = words;
    this._names = element('datalist', { id: `sshpyk-hosts-${Math.random().toString(36).slice(2)}` });
    this._host = element('input', { className: 'jp-mod-styled', autocomplete: 'off', required: true });
    this._host.setAttribute('list', this._names.id);
    this._look = element('button', { className: 'sshpyk-button', textContent: say('Look') });
    const form = element(
      'form',
      { className: 'sshpyk-form' },
      element('label', {}, say('Host, as you give it to ssh'), ' ', this._host),
      this._names,
      this._look
    );
    form.addEventListener('submit', event => {
      event.preventDefault();
      void this._lookAt(this._host.value.trim());
    });
    this._said = element('p', { className: 'sshpyk-progress' });
    this._said.setAttribute('role', 'status');
    this._cancel = button(say('Cancel'), () => this._work?.abort());
    this._cancel.hidden = true;
    this._offered = element('div');
    this._cards = element('div');
    this.node = element(
      'div',
      { className: 'sshpyk-cards' },
      element('h2', { textContent: say('Add a kernel') }),
      form,
      element('div', { className: 'sshpyk-form' }, this._said, this._cancel),
      this._offered,
      element('h2', { textContent: say('Remote kernels') }),
      this._cards
    );
    void this.load();
  }

  dispose() {
    this._work?.abort();
  }

  /** Show what there is. */
  async load() {
    try {
      const { cards, hosts, settings } = await this._server.get('cards');
      this._settings = settings;
      this._names.replaceChildren(
        ...hosts.map(/** @param {string} value */ value => element('option', { value }))
      );
      this._show(cards);
    } catch (error) {
      this._said.textContent = String(error);
    }
  }

  /** @param {Card[]} cards */
  _show(cards) {
    const { say } = this._words;
    const rows = cards.map(card => [
      card.display_name,
      card.host,
      element(
        'span',
        { className: 'sshpyk-form' },
        button(say('Edit'), () => void this._edit(card), say('Edit %1', card.display_name)),
        button(say('Remove'), () => void this._remove(card), say('Remove %1', card.display_name))
      )
    ]);
    this._cards.replaceChildren(
      rows.length === 0
        ? element('p', { textContent: say('There are none yet.') })
        : table(say('Those in the launcher'), [say('Kernel'), say('Host'), say('Do')], rows)
    );
  }

  /** @param {string} host */
  async _lookAt(host) {
    const { say } = this._words;
    this._offered.replaceChildren();
    const found = await this._do(say('Looking at %1 …', host), 'looks', { host });
    if (found === undefined) {
      return;
    }
    const rows = found.offered.map(
      /** @param {Offer} offer */ offer => [
        offer.kernel,
        offer.environment,
        offer.version,
        offer.trouble || offer.ipykernel || (offer.installed ? '' : say('missing')),
        offer.path,
        offer.trouble === ''
          ? button(
              offer.installed ? say('Add') : say('Install ipykernel and add'),
              () => void this._add(found.id, found.host, offer),
              say('Add %1', offer.display_name)
            )
          : ''
      ]
    );
    const heads = ['Kernel', 'Environment', 'Version', 'ipykernel', 'Path', 'Do'].map(head => say(head));
    this._said.textContent = say('%1 offers %2.', found.host, rows.length);
    this._offered.replaceChildren(table(say('On %1', found.host), heads, rows));
    this._offered.querySelector('button')?.focus();
  }

  /** @param {string} look @param {string} host @param {Offer} offer */
  async _add(look, host, offer) {
    const { say } = this._words;
    const name = await this._apputils.InputDialog.getText({
      title: say('Name in Jupyter'),
      label: say('Name'),
      text: offer.display_name,
      okLabel: say('Add')
    });
    if (!name.button.accept) {
      return;
    }
    if (!offer.installed) {
      const asked = await this._apputils.showDialog({
        title: say('Install ipykernel?'),
        body: say('%1 on %2 has no ipykernel. Install it there now?', offer.path, host),
        buttons: [
          this._apputils.Dialog.cancelButton({ label: say('Cancel') }),
          this._apputils.Dialog.okButton({ label: say('Install') })
        ]
      });
      if (!asked.button.accept) {
        return;
      }
    }
    const what = offer.installed
      ? say('Adding %1 …', offer.display_name)
      : say('Installing ipykernel into %1 on %2 …', offer.path, host);
    const given = { number: offer.number, display_name: name.value ?? '', install: true };
    const added = await this._do(what, `looks/${look}/add`, given);
    if (added !== undefined) {
      this._said.textContent = say('“%1” is in the launcher.', added.display_name);
      await this._changed();
    }
  }

  /**
   * Have the server do what takes long.
   * @param {string} what that is, for people @param {string} path @param {any} given
   * @returns {Promise<any>} what came of it; undefined where nothing did, which was explained
   */
  async _do(what, path, given) {
    this._work?.abort();
    const work = new AbortController();
    this._work = work;
    this._said.textContent = what;
    this._cancel.hidden = false;
    this._look.disabled = true;
    let said = '';
    try {
      return await this._server.follow(path, given, work.signal, login => this._actions.follow(login));
    } catch (error) {
      if (!work.signal.aborted) {
        said = this._words.trouble(error);
        this._actions.explain(what, said);
      }
      return undefined;
    } finally {
      if (this._work === work) {
        this._work = null;
        this._said.textContent = said.split('\n')[0];
        this._cancel.hidden = true;
        this._look.disabled = false;
      }
    }
  }

  /** @param {Card} card */
  async _edit(card) {
    const { say } = this._words;
    const form = new Settings(card, this._settings, this._words);
    const result = await this._apputils.showDialog({
      title: say('Edit “%1”', card.display_name),
      body: new this._widgets.Widget({ node: form.node }),
      buttons: [
        this._apputils.Dialog.cancelButton({ label: say('Cancel') }),
        this._apputils.Dialog.okButton({ label: say('Save') })
      ]
    });
    if (result.button.accept) {
      await this._changing(say('Edit “%1”', card.display_name), () =>
        this._server.post(`cards/${card.name}`, form.value)
      );
    }
  }

  /** @param {Card} card */
  async _remove(card) {
    const { say } = this._words;
    const title = say('Remove “%1”?', card.display_name);
    const result = await this._apputils.showDialog({
      title,
      body: say('It leaves the launcher. Nothing changes on %1.', card.host),
      buttons: [
        this._apputils.Dialog.cancelButton({ label: say('Cancel') }),
        this._apputils.Dialog.warnButton({ label: say('Remove') })
      ]
    });
    if (result.button.accept) {
      await this._changing(title, () => this._server.delete(`cards/${card.name}`));
    }
  }

  /** @param {string} title @param {() => Promise<any>} change */
  async _changing(title, change) {
    try {
      await change();
    } catch (error) {
      this._actions.explain(title, this._words.trouble(error));
    }
    await this._changed();
  }

  async _changed() {
    await Promise.all([this._refresh(), this.load()]);
  }
}
