// @ts-check
/** Notifications: only of what needs a person, or explains a pause. Each ends when its cause does. */

import { hasDied, isAway, wantsLogin } from './words.js';

/** @typedef {import('./kernels.js').State} State */

/**
 * @typedef {object} Notice
 * @property {string} message
 * @property {'warning'|'error'} type
 * @property {{label: string, callback: () => void}[]} actions
 * @property {() => void} [over] what to do when its cause has ended
 */

/** Seconds that a pause lasts before it is explained. */
const PATIENCE = 5;

/** Seconds after which a kernel that has exited and is not being restarted has died. */
const DEAD = 1;

/** Milliseconds that good news stays. */
const READ = 6000;

export class Notices {
  /**
   * @param {import('./kernels.js').Kernels} kernels
   * @param {import('./words.js').Words} words
   * @param {any} actions
   * @param {typeof import('@jupyterlab/apputils').Notification} notification Lab's
   */
  constructor(kernels, words, actions, notification) {
    this._kernels = kernels;
    this._words = words;
    this._actions = actions;
    this._notification = notification;
    /** @type {Map<string, {id: string, notice: Notice}>} what was shown, even if it was put away */
    this._shown = new Map();
    this._timer = 0;
    this._next = Infinity;
    kernels.listen(() => this.update());
  }

  /** Show what there is to say now, and take back what is over. */
  update() {
    clearTimeout(this._timer);
    this._next = Infinity;
    const wanted = this._wanted();
    if (this._next < Infinity) {
      this._timer = window.setTimeout(() => this.update(), 1000 * this._next + 50);
    }
    for (const [key, { id, notice }] of [...this._shown]) {
      if (!wanted.has(key)) {
        this._shown.delete(key);
        this._notification.dismiss(id);
        notice.over?.();
      }
    }
    for (const [key, notice] of wanted) {
      if (!this._shown.has(key)) {
        const options = { autoClose: /** @type {false} */ (false), actions: notice.actions };
        const id = this._notification.emit(notice.message, notice.type, options);
        this._shown.set(key, { id, notice });
      }
    }
  }

  /** @returns {Map<string, Notice>} */
  _wanted() {
    const now = Date.now() / 1000 + this._kernels.ahead;
    /** @type {Map<string, Notice>} */
    const wanted = new Map();
    for (const [host, states] of byHost(this._kernels.all())) {
      const waiting = states.find(wantsLogin);
      const away = states.filter(isAway);
      if (waiting !== undefined) {
        wanted.set(`login ${host}`, this._login(waiting));
      } else if (away.length > 0) {
        const since = Math.min(...away.map(state => state.since));
        if (this._after(since + PATIENCE, now) || this._shown.has(`away ${host}`)) {
          wanted.set(`away ${host}`, this._away(away[0], since));
        }
      }
      const ending = states.find(isEnding);
      if (ending !== undefined) {
        wanted.set(`ends ${host} ${ending.ending}`, this._ends(ending));
      }
      for (const state of states.filter(isShort)) {
        // Kernels that have it in common are told of once.
        const key = `memory ${host} ${state.memory_short?.limit}`;
        wanted.set(key, wanted.get(key) ?? this._memory(state));
      }
      for (const state of states) {
        const prefix = `died ${state.key} `;
        const isDead = hasDied(state) && state.stage === null;
        if (isDead && this._after(state.since + DEAD, now)) {
          wanted.set(`${prefix}${state.exited?.pid}`, this._died(state));
        } else {
          // Another may have taken its place: why the one before died is still worth knowing.
          const before = [...this._shown].filter(([key]) => key.startsWith(prefix));
          before.forEach(([key, { notice }]) => wanted.set(key, notice));
        }
      }
    }
    return wanted;
  }

  /** @param {number} at @param {number} now @returns {boolean} whether it is time; else look then */
  _after(at, now) {
    if (now < at) {
      this._next = Math.min(this._next, at - now);
    }
    return now >= at;
  }

  /** @param {State} state @param {number} since @returns {Notice} */
  _away(state, since) {
    const { say } = this._words;
    const host = state.host;
    const retry = { label: say('Retry now'), callback: () => this._actions.retry(state.kernel_id) };
    const why = {
      label: say('Why'),
      callback: () => this._actions.explain(host, this._words.long(state))
    };
    return {
      message: say('%1 is out of reach since %2. What runs there goes on.', host, this._words.time(since)),
      type: 'warning',
      actions: state.trouble === null ? [retry] : [retry, why],
      over: () => this._back(host, since)
    };
  }

  /** @param {string} host @param {number} since */
  _back(host, since) {
    const states = this._kernels.all().filter(state => state.host === host);
    if (states.length > 0 && states.every(state => state.state === 'connected')) {
      const seconds = Date.now() / 1000 + this._kernels.ahead - since;
      this._notification.emit(
        this._words.say('%1 is back after %2. Nothing was lost.', host, this._words.duration(seconds)),
        'success',
        { autoClose: READ }
      );
    }
  }

  /** @param {State} state @returns {Notice} */
  _login(state) {
    const { say } = this._words;
    return {
      message: say('%1 needs you to log in.', state.host),
      type: 'warning',
      actions: [{ label: say('Log in'), callback: () => this._actions.logIn(state.kernel_id) }]
    };
  }

  /** @param {State} state @returns {Notice} */
  _ends(state) {
    const at = this._words.time(state.ends_at ?? 0);
    return {
      message: this._words.say(
        '%1 ends at %2, and all kernels in it: save what you need.',
        state.host,
        at
      ),
      type: 'warning',
      actions: []
    };
  }

  /** @param {State} state @returns {Notice} */
  _memory(state) {
    const { say } = this._words;
    const memory = /** @type {{used: number, limit: number}} */ (state.memory_short);
    return {
      message: say(
        'Memory on %1 is almost full: %2. A kernel that wants more may be killed.',
        state.host,
        this._words.share(memory)
      ),
      type: 'warning',
      actions: []
    };
  }

  /** @param {State} state @returns {Notice} */
  _died(state) {
    const { say } = this._words;
    const title = say('The kernel on %1 died', state.host);
    const death = this._words.death(state);
    return {
      message: `${title}: ${state.exited_text}`,
      type: 'error',
      actions: [
        { label: say('Restart'), callback: () => this._actions.restart(state.kernel_id) },
        { label: say('Why'), callback: () => this._actions.explain(title, death) }
      ]
    };
  }
}

/** @param {State} state @returns {boolean} whether what was lent for it will end soon */
function isEnding(state) {
  return !!state.ending && (state.state === 'connected' || state.state === 'away');
}

/** @param {State} state @returns {boolean} whether its memory is almost full, as far as is known */
function isShort(state) {
  return !!state.memory_short && (state.state === 'connected' || state.state === 'away');
}

/** @param {State[]} states @returns {Map<string, State[]>} */
function byHost(states) {
  const hosts = new Map();
  for (const state of states) {
    hosts.set(state.host, [...(hosts.get(state.host) ?? []), state]);
  }
  return hosts;
}
