// @ts-check
/** What runs on hosts, in Lab's panel of what runs: looked for when that is opened, and on events. */

import { element } from './dom.js';

/**
 * @typedef {object} Row a kernel on a host, as `sshpyk ps --json` has it
 * @property {string} id
 * @property {string?} name of its session
 * @property {string} host
 * @property {string} node
 * @property {string} kernelspec
 * @property {'attached'|'detached'|'lost'|'exited'|'unknown'} state
 * @property {number?} since
 * @property {number} pid
 * @property {boolean?} busy
 * @property {number?} busy_since
 * @property {number?} memory
 * @property {number?} spooled bytes of output that wait
 * @property {number?} lease_left
 * @property {boolean} persistent
 * @property {string} here Jupyter's id of it, if this server is attached to it
 *
 * @typedef {object} Host
 * @property {string} host
 * @property {import('./server.js').Trouble?} trouble
 * @property {boolean} needs_person
 * @property {Row[]} kernels
 */

/** Milliseconds in which several changes are one. */
const SOON = 1000;

export class Hosts {
  /**
   * @param {import('@jupyterlab/application').JupyterFrontEnd} app
   * @param {Record<string, any>} lab its packages
   * @param {import('./server.js').Server} server
   * @param {import('./kernels.js').Kernels} kernels
   * @param {import('./words.js').Words} words
   * @param {any} actions
   * @param {import('@jupyterlab/ui-components').LabIcon} icon
   */
  constructor(app, lab, server, kernels, words, actions, icon) {
    this._app = app;
    this._lab = lab;
    this._server = server;
    this._words = words;
    this._actions = actions;
    this._icon = icon;
    /** @type {Host[]} */
    this._hosts = [];
    /** @type {any} */
    this._panel = null;
    this._isLooking = false;
    this._isStale = false;
    this._timer = 0;
    this.name = words.say('Kernels on Hosts');
    this.shutdownLabel = words.say('Stop');
    this.shutdownAllLabel = words.say('Stop All');
    this.shutdownAllConfirmationText = words.say('Stop all kernels on all these hosts?');
    this.runningChanged = new lab.signaling.Signal(this);
    kernels.listen(() => this._lookSoon());
    void app.restored.then(() => this._watchPanel());
  }

  /** Look whenever the panel is opened. */
  _watchPanel() {
    const widgets = [...this._app.shell.widgets('left'), ...this._app.shell.widgets('right')];
    this._panel = widgets.find(widget => widget.id === 'jp-running-sessions') ?? null;
    if (this._panel !== null) {
      this._lab.messaging.MessageLoop.installMessageHook(
        this._panel,
        /** @param {any} _ @param {any} message */ (_, message) => {
          if (message.type === 'after-show') {
            void this.look();
          }
          return true;
        }
      );
      this._lookSoon();
    }
  }

  _lookSoon() {
    clearTimeout(this._timer);
    if (this._panel?.isVisible) {
      this._timer = window.setTimeout(() => void this.look(), SOON);
    }
  }

  /** Look at the hosts; what comes in the meantime is looked at after. */
  async look() {
    if (this._isLooking) {
      this._isStale = true;
      return;
    }
    this._isLooking = true;
    try {
      do {
        this._isStale = false;
        this._hosts = await this._ask('hosts', {});
        this.runningChanged.emit(undefined);
      } while (this._isStale && this._panel?.isVisible);
    } catch (error) {
      console.warn('sshpyk: what runs on hosts is not known:', error);
    } finally {
      this._isLooking = false;
    }
  }

  /** @param {string} path @param {any} given */
  _ask(path, given) {
    const signal = new AbortController().signal;
    return this._server.follow(path, given, signal, login => this._actions.follow(login));
  }

  /** Lab asks for this. */
  refreshRunning() {
    if (this._panel?.isVisible) {
      void this.look();
    }
  }

  /** @returns {any[]} Lab's items: a host each, with its kernels below it */
  running() {
    return this._hosts
      .filter(host => host.kernels.length > 0 || host.trouble !== null)
      .map(host => ({
        icon: () => this._icon,
        label: () => this._nameOf(host),
        labelTitle: () => (host.trouble === null ? host.host : this._words.trouble(host)),
        ...(host.trouble === null ? {} : { open: () => this._explain(host) }),
        children: host.kernels.map(row => this._item(row))
      }));
  }

  shutdownAll() {
    for (const row of this._hosts.flatMap(host => host.kernels)) {
      void this._stop(row);
    }
  }

  /** @param {Host} host */
  _nameOf(host) {
    if (host.trouble === null) {
      return host.host;
    }
    const { say } = this._words;
    return host.needs_person ? say('%1 needs you to log in', host.host) : host.trouble.what;
  }

  /** @param {Host} host */
  _explain(host) {
    if (host.needs_person && host.trouble?.code !== 'host-key-changed') {
      this._actions.logInTo(host.host);
    } else {
      this._actions.explain(host.host, this._words.trouble(host));
    }
  }

  /** @param {Row} row */
  _item(row) {
    return {
      icon: () => this._lab['ui-components'].kernelIcon,
      label: () => this._titleOf(row),
      labelTitle: () =>
        this._facts(row)
          .map(([name, value]) => `${name}: ${value}`)
          .join('\n'),
      detail: () =>
        [this._words.activity(row), row.memory === null ? '' : this._words.size(row.memory)]
          .filter(text => text !== '')
          .join(', '),
      open: () => void this._open(row),
      shutdown: () => void this._stop(row)
    };
  }

  /** @param {Row} row */
  _titleOf(row) {
    return row.name ?? this._fileOf(row) ?? `${row.kernelspec} ${row.id.slice(0, 8)}`;
  }

  /** @param {Row} row @returns {string|undefined} the notebook or console here that has it */
  _fileOf(row) {
    const sessions = [...this._app.serviceManager.sessions.running()];
    return row.here ? sessions.find(session => session.kernel?.id === row.here)?.path : undefined;
  }

  /** @param {Row} row @returns {[string, string][]} */
  _facts(row) {
    const { say } = this._words;
    const whose = {
      attached: row.here ? this._fileOf(row) ?? say('this Jupyter') : say('somebody else is attached'),
      detached: say('nobody, since %1', this._words.time(row.since ?? 0)),
      lost: say('its client has vanished at %1', this._words.time(row.since ?? 0)),
      exited: say('nobody: it has ended'),
      unknown: say('unknown')
    };
    /** @type {[string, string][]} */
    const facts = [
      [say('Host'), row.node === row.host ? row.host : `${row.host} (${row.node})`],
      [say('Kernel'), row.kernelspec],
      [say('Session'), row.name ?? '–'],
      [say('Whose'), whose[row.state]],
      [say('Activity'), this._words.activity(row)],
      [say('Memory'), row.memory === null ? say('unknown') : this._words.size(row.memory)],
      [say('Output waiting'), this._words.size(row.spooled ?? 0)],
      [say('Process'), String(row.pid)]
    ];
    if (!row.persistent && row.lease_left !== null) {
      facts.push([say('Ends without a client in'), this._words.duration(row.lease_left)]);
    }
    return facts;
  }

  /** Say all of a kernel, and what can be done with it. @param {Row} row */
  async _open(row) {
    const { say } = this._words;
    const { Dialog, showDialog } = this._lab.apputils;
    const list = element(
      'dl',
      { className: 'sshpyk-facts' },
      ...this._facts(row).flatMap(([name, value]) => [
        element('dt', { textContent: name }),
        element('dd', { textContent: value })
      ])
    );
    const choices = [
      { label: say('Logs'), act: () => this._logs(row) },
      { label: say('Stop'), act: () => this._stop(row) },
      { label: say('Attach a console'), act: () => this._attach(row, 'console') },
      { label: say('Attach a notebook'), act: () => this._attach(row, 'notebook') }
    ];
    const result = await showDialog({
      title: say('%1 on %2', this._titleOf(row), row.host),
      body: new this._lab.widgets.Widget({ node: list }),
      buttons: [
        Dialog.cancelButton({ label: say('Close') }),
        ...choices.map(({ label }) => Dialog.okButton({ label, accept: true }))
      ]
    });
    const chosen = choices.find(({ label }) => result.button.accept && label === result.button.label);
    await chosen?.act();
  }

  /**
   * @param {Row} row @param {string} action
   * @returns {Promise<any>} what came of it; undefined where nothing did, which was explained
   */
  async _do(row, action) {
    try {
      return await this._ask(`hosts/kernels/${row.id}/${action}`, { host: row.host });
    } catch (error) {
      this._actions.explain(this._titleOf(row), this._words.trouble(error));
      return undefined;
    }
  }

  /** @param {Row} row */
  async _stop(row) {
    await this._do(row, 'stop');
    await this.look();
  }

  /** @param {Row} row */
  async _logs(row) {
    const { say } = this._words;
    const logs = await this._do(row, 'logs');
    if (logs !== undefined) {
      const text = `${say('The kernel:')}\n${logs.kernel}\n${say('Its agent:')}\n${logs.agent}`;
      this._actions.explain(say('Logs of %1', this._titleOf(row)), text);
    }
  }

  /** @param {Row} row @param {'notebook'|'console'} how */
  async _attach(row, how) {
    const found = await this._do(row, 'attach');
    if (found === undefined) {
      return;
    }
    const { kernel_id: id, name } = found;
    await (how === 'console'
      ? this._app.commands.execute('console:create', { kernelPreference: { id, name } })
      : this._app.commands.execute('notebook:create-new', { kernelId: id, kernelName: name }));
    await this.look();
  }
}
