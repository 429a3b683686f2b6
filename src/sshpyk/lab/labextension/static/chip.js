// @ts-check
/** What stands beside a kernel's name: its host, and how it is. Nothing for a local kernel. */

import { hasDied, isAway, wantsLogin } from './words.js';

/** @typedef {import('./kernels.js').State} State */

/** What may be linked to: a host could print anything. */
const LOCAL = /^https?:\/\/localhost:\d+(\/|$)/;

export class Chip {
  /**
   * @param {import('@jupyterlab/apputils').ISessionContext} context Lab's session context of a notebook or console
   * @param {import('./kernels.js').Kernels} kernels
   * @param {import('./words.js').Words} words
   * @param {any} actions what its button does
   */
  constructor(context, kernels, words, actions) {
    this._context = context;
    this._kernels = kernels;
    this._words = words;
    this._actions = actions;
    this._timer = 0;
    /** @type {State|undefined} what is shown */
    this._state = undefined;
    this._shown = '';
    this._urls = '';

    this.node = element('div', 'sshpyk-chip');
    this._status = element('span', 'sshpyk-status');
    this._status.setAttribute('role', 'status');
    this._dot = element('span', 'sshpyk-dot');
    this._dot.setAttribute('aria-hidden', 'true');
    this._host = element('span', 'sshpyk-host');
    this._text = element('span', 'sshpyk-text');
    this._status.append(this._dot, this._host, this._text);
    // Apart: a screen reader need not say each second.
    this._countdown = element('span', 'sshpyk-countdown');
    this._countdown.setAttribute('aria-hidden', 'true');
    this._button = /** @type {HTMLButtonElement} */ (element('button', 'sshpyk-button'));
    this._button.type = 'button';
    this._button.addEventListener('click', () => this._act());
    this._ports = element('span', 'sshpyk-ports');
    this.node.append(this._status, this._countdown, this._button, this._ports);
    this.node.addEventListener('pointerenter', () => void this._measure());

    this._update = () => this.update();
    this._signals = [context.kernelChanged, context.sessionChanged, context.statusChanged];
    for (const signal of this._signals) {
      signal.connect(this._update);
    }
    this._end = kernels.listen(this._update);
    this.update();
  }

  dispose() {
    this._end();
    clearInterval(this._timer);
    for (const signal of this._signals) {
      signal.disconnect(this._update);
    }
  }

  /** @returns {State|undefined} the state of the kernel that is there or being started */
  get state() {
    const kernel = this._context.session?.kernel;
    if (kernel) {
      return this._kernels.withId(kernel.id);
    }
    // As a path is known to the server, without the name of a drive.
    const path = String(this._context.path).replace(/^[^/]*:/, '');
    return this._kernels.startingFor([path, this._context.name]);
  }

  /** Show what is so now. */
  update() {
    const state = this.state;
    if (state !== undefined && state === this._state) {
      return; // the page's own kernel is busy or idle, or it was another kernel's event
    }
    this._state = state;
    this.node.hidden = state === undefined;
    clearInterval(this._timer);
    if (state === undefined) {
      this._shown = '';
      return;
    }
    const text = this._words.short(state);
    if (this._shown !== `${state.host} ${text}`) {
      // Only then: a screen reader says it again with each change of the text.
      this._shown = `${state.host} ${text}`;
      this._host.textContent = state.host;
      this._text.textContent = text;
      this._status.setAttribute('aria-label', this._words.say('Kernel on %1: %2', state.host, text));
    }
    this.node.dataset.state = wantsLogin(state) ? 'login' : hasDied(state) ? 'died' : state.state;
    this.node.title = this._words.long(state);
    this._link(state);
    const action = this._action(state);
    this._button.hidden = action === '';
    this._button.textContent = action;
    this._countDown();
    if (state.state === 'away' && state.next_try !== null) {
      this._timer = window.setInterval(() => this._countDown(), 1000);
    }
  }

  /** Links to what the kernel serves, where this browser is on the machine that the ports are on.
   * @param {State} state */
  _link(state) {
    const isHere = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname);
    const urls = isHere ? (state.ports ?? []).map(({ url }) => url).filter(url => LOCAL.test(url)) : [];
    if (urls.join(' ') === this._urls) {
      return;
    }
    this._urls = urls.join(' ');
    this._ports.replaceChildren(
      ...urls.map(url => {
        const link = /** @type {HTMLAnchorElement} */ (element('a', 'sshpyk-link'));
        Object.assign(link, { href: url, target: '_blank', rel: 'noopener noreferrer' });
        link.textContent = this._words.say('Open %1', new URL(url).host);
        return link;
      })
    );
  }

  /** Somebody looks closer: find out what only the host knows. */
  async _measure() {
    const state = this.state;
    if (state?.state === 'connected') {
      const measured = await this._actions.measure(state.kernel_id);
      if (this.state === state) {
        this.node.title = this._words.long(state, measured);
      }
    }
  }

  _countDown() {
    const at = this.state?.next_try ?? 0;
    const left = Math.ceil(at - this._kernels.ahead - Date.now() / 1000);
    const state = this.state;
    this._countdown.textContent = state === undefined ? '' : this._words.nextTry(state, left);
    if (left <= 0) {
      clearInterval(this._timer);
    }
  }

  /** @param {State} state @returns {string} what its button says */
  _action(state) {
    if (wantsLogin(state)) {
      return this._words.say('Log in');
    }
    if (isAway(state)) {
      return this._words.say('Retry now');
    }
    return hasDied(state) ? this._words.say('Why') : '';
  }

  _act() {
    const state = this.state;
    if (state === undefined) {
      return;
    }
    if (wantsLogin(state)) {
      this._actions.logIn(state.kernel_id);
    } else if (isAway(state)) {
      this._actions.retry(state.kernel_id);
    } else if (hasDied(state)) {
      this._actions.explain(
        this._words.say('The kernel on %1 died', state.host),
        this._words.death(state)
      );
    }
  }
}

/** @param {string} name @param {string} style @returns {HTMLElement} */
function element(name, style) {
  const made = document.createElement(name);
  made.className = style;
  return made;
}
