// @ts-check
/** What is said of a state, in the user's language. */

/** @typedef {import('./kernels.js').State} State */

/** Whether a kernel ended otherwise than by its own wish. @param {State} state */
export function hasDied(state) {
  const exited = state.exited;
  return exited !== null && (exited.code !== 0 || exited.note !== '');
}

/** Whether logging in would help. @param {State} state */
export function wantsLogin(state) {
  const waits = state.state === 'starting' || state.state === 'away';
  return waits && state.needs_person && state.trouble?.code !== 'host-key-changed';
}

/** Whether it can't be reached, and a login is not what it takes. @param {State} state */
export function isAway(state) {
  return state.state === 'away' && !wantsLogin(state);
}

export class Words {
  /** @param {import('@jupyterlab/translation').TranslationBundle} translations Lab's for us */
  constructor(translations) {
    this.say = translations.__.bind(translations);
    // To make one takes a browser longer than all else that is done for a kernel's event.
    /** @type {Intl.DateTimeFormatOptions} */
    const minutes = { hour: '2-digit', minute: '2-digit' };
    this._minutes = new Intl.DateTimeFormat(undefined, minutes);
    this._days = new Intl.DateTimeFormat(undefined, { ...minutes, month: 'short', day: 'numeric' });
  }

  /** @param {State} state @returns {string} how it is, in a few words */
  short(state) {
    if (wantsLogin(state)) {
      return this.say('needs you to log in');
    }
    switch (state.state) {
      case 'new':
      case 'starting':
        return state.stage_text === null
          ? this.say('starting')
          : this.say('starting: %1', state.stage_text);
      case 'connected':
        return state.stage_text ?? this.say('connected');
      case 'away':
        return state.trouble?.code === 'host-key-changed'
          ? this.say('away: its key has changed')
          : this.say('away since %1', this.time(state.since));
      case 'exited':
        if (state.stage_text !== null) {
          return state.stage_text;
        }
        return hasDied(state) ? this.say('died: %1', state.exited_text) : this.say('ended');
      default:
        return '';
    }
  }

  /** @param {State} state @param {number} seconds @returns {string} when it is tried again */
  nextTry(state, seconds) {
    return state.state === 'away' && seconds > 0 ? this.say('next try in %1 s', seconds) : '';
  }

  /**
   * @param {State} state
   * @param {{round_trip?: number, waiting?: number}} [measured] how the connection was just now
   * @returns {string} all that is known, in lines
   */
  long(state, measured = {}) {
    const about = state.about;
    const lines = [`${state.host}: ${this.short(state)}`];
    if (about.kernel) {
      lines.push(this.say('Kernel: %1', about.kernel), this.say('Directory: %1', about.directory));
      lines.push(this.say('Process: %1', about.process));
    }
    if (about.node) {
      lines.push(this.say('Node: %1', about.node), this.say('Agent: %1', about.agent));
      lines.push(this.say('Environment: %1', about.python));
    }
    if (measured.round_trip !== undefined) {
      lines.push(this.say('Round trip: %1 ms', Math.round(1000 * measured.round_trip)));
      lines.push(this.say('Output waiting: %1', this.size(measured.waiting ?? 0)));
    }
    if (state.memory_short) {
      lines.push(this.say('Memory almost full: %1', this.share(state.memory_short)));
    }
    lines.push(this.say('So since %1', this.time(state.since)));
    if (state.state === 'away') {
      lines.push(this.say('The kernel goes on; nothing that it says is lost.'));
    }
    const trouble = state.trouble;
    if (trouble !== null && state.state !== 'connected') {
      lines.push('', trouble.what);
    }
    return lines.join('\n');
  }

  /** @param {State} state @returns {string} why it died, and what it said last */
  death(state) {
    const said = state.exited?.stderr.trim();
    const lines = [state.exited_text ?? ''];
    if (said) {
      lines.push('', this.say('It said last:'), said);
    }
    return lines.join('\n');
  }

  /** @param {{busy: boolean?, busy_since: number?}} kernel @returns {string} what it does */
  activity({ busy, busy_since }) {
    if (busy === null) {
      return this.say('unknown');
    }
    const since = this.time(busy_since ?? 0);
    return busy ? this.say('busy since %1', since) : this.say('idle since %1', since);
  }

  /** @param {number} bytes @returns {string} that, in the unit that suits it */
  size(bytes) {
    const units = ['B', 'kB', 'MB', 'GB', 'TB'];
    const power = bytes < 1 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
    const value = bytes / 1000 ** power;
    return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
  }

  /** @param {{used: number, limit: number}} memory @returns {string} how much of it is in use */
  share({ used, limit }) {
    return this.say('%1 of %2', this.size(used), this.size(limit));
  }

  /** @param {any} error @returns {string} what went wrong, what to do, and what the other side said */
  trouble(error) {
    if (!error.trouble) {
      return String(error.message ?? error);
    }
    const { what, advice, command, details } = error.trouble;
    return [what, advice, command, details].filter(part => part !== '').join('\n\n');
  }

  /** @param {number} seconds since 1970 @returns {string} the time of day, with the date if need be */
  time(seconds) {
    const then = new Date(seconds * 1000);
    const isToday = then.toDateString() === new Date().toDateString();
    return (isToday ? this._minutes : this._days).format(then);
  }

  /** @param {number} seconds @returns {string} how long that is */
  duration(seconds) {
    if (seconds < 90) {
      return this.say('%1 s', Math.round(seconds));
    }
    const minutes = Math.round(seconds / 60);
    return minutes < 90
      ? this.say('%1 min', minutes)
      : this.say('%1 h', (seconds / 3600).toFixed(1));
  }
}
