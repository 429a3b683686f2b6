// @ts-check
/** The states of remote kernels as Jupyter Server tells them: all at first, then each change. */

/** How our events are called; `sshpyk.lab.events` has it, too. */
export const SCHEMA = 'https://sshpyk.invalid/events/v1';

/**
 * @typedef {object} State how a kernel is; times are in seconds since 1970
 * @property {number} key names the kernel; a kernel that replaces another has a higher one
 * @property {string} kernel_id
 * @property {string} file what it was started for, or nothing
 * @property {string} host
 * @property {'new'|'starting'|'connected'|'away'|'exited'|'closed'} state
 * @property {number} since when that began
 * @property {string?} stage of a start
 * @property {string?} stage_text
 * @property {number?} ends_at when what was lent for it ends, such as an allocation
 * @property {string?} ending in how long, where that is soon
 * @property {import('./server.js').Trouble?} trouble
 * @property {boolean} needs_person
 * @property {number?} next_try
 * @property {{pid: number, code: number?, signum: number?, stderr: string, note: string}?} exited
 * @property {string?} exited_text
 * @property {{kernel?: string, directory?: string, process?: number, node?: string, agent?: string,
 *   python?: string}} about
 * @property {{used: number, limit: number, machine: boolean}?} memory_short where what it may use
 *   is almost full; in bytes
 * @property {{target: string, local: number|string, url: string}[]} ports open here, to the host's
 * @property {number} number of the change that this is
 * @property {string} server which life of the server counts so
 */

export class Kernels {
  /** @param {import('./server.js').Server} server @param {import('@jupyterlab/services').ServiceManager.IManager} manager Lab's service manager */
  constructor(server, manager) {
    this._server = server;
    /** @type {Map<number, State>} */
    this._states = new Map();
    /** @type {Set<() => void>} */
    this._listeners = new Set();
    this._number = -1;
    this._life = '';
    this._ids = '';
    this._isLoading = false;
    this._isStale = false;
    /** Seconds that the server's clock is ahead of ours. */
    this.ahead = 0;

    manager.events.stream.connect(
      /** @param {any} _ @param {any} event */ (_, event) => {
        if (event.schema_id === SCHEMA && event.about === 'kernel') {
          this._take(event.kernel, event.now);
        }
      }
    );
    // Events are not told again to who was away: look anew where some may have been missed.
    manager.kernels.runningChanged.connect(
      /** @param {any} _ @param {any[]} models */ (_, models) => {
        const ids = models.map(model => model.id).sort().join();
        if (ids !== this._ids) {
          this._ids = ids;
          void this.load();
        }
      }
    );
    window.addEventListener('online', () => void this.load());
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') {
        void this.load();
      }
    });
    void this.load();
  }

  /** @returns {State[]} all that there are */
  all() {
    return [...this._states.values()];
  }

  /** @param {string|undefined} id @returns {State|undefined} the state of Jupyter's kernel `id` */
  withId(id) {
    return this._latest(state => state.kernel_id === id);
  }

  /** @param {string[]} names @returns {State|undefined} that of a kernel that starts for a file */
  startingFor(names) {
    return this._latest(state => state.state === 'starting' && names.includes(state.file));
  }

  /** @param {() => void} listener called with each change @returns {() => void} what ends that */
  listen(listener) {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  }

  /** Get all anew. */
  async load() {
    if (this._isLoading) {
      this._isStale = true;
      return;
    }
    this._isLoading = true;
    try {
      do {
        this._isStale = false;
        const found = await this._server.get('kernels');
        this._states = new Map(found.kernels.map(/** @param {State} s */ s => [s.key, s]));
        this._number = found.number;
        this._life = found.server;
        this.ahead = found.now - Date.now() / 1000;
      } while (this._isStale);
      this._tell();
    } catch (error) {
      console.warn('sshpyk: the states of remote kernels are not known:', error);
    } finally {
      this._isLoading = false;
    }
  }

  /** @param {State} state @param {number} now */
  _take(state, now) {
    if (this._isLoading || state.server !== this._life || state.number > this._number + 1) {
      void this.load(); // some were missed, or may be by what is under way
      return;
    }
    if (state.number <= this._number) {
      return;
    }
    this._number = state.number;
    this.ahead = now - Date.now() / 1000;
    if (state.state === 'closed') {
      this._states.delete(state.key);
    } else {
      this._states.set(state.key, state);
    }
    this._tell();
  }

  /** @param {(state: State) => boolean} wanted */
  _latest(wanted) {
    return this.all()
      .filter(wanted)
      .sort((a, b) => b.key - a.key)[0];
  }

  _tell() {
    for (const listener of [...this._listeners]) {
      try {
        listener();
      } catch (error) {
        console.error('sshpyk:', error);
      }
    }
  }
}
