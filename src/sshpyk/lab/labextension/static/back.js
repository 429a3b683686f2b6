// @ts-check
/** Coming back to a notebook: what its cells printed meanwhile is put into them, and goes on there. */

/**
 * @typedef {object} Missed what the server found
 * @property {Record<string, {outputs: any[], execution_count: number?}>} cells by their place
 * @property {Record<string, number>} requests the places of the cells that they ran
 * @property {number} count of outputs
 * @property {string[]} homeless how codes begin that no cell has any more
 * @property {string[]} [messages] the ids of the messages of these requests that are in it
 * @property {string} [kernel] how the host calls the kernel
 * @property {any} [metadata] what the notebook is to remember, so that nothing comes twice
 */

/** What becomes an output of a cell as it is. */
const OUTPUTS = ['stream', 'display_data', 'execute_result', 'error'];

/** How ours is called in a notebook's metadata. */
const METADATA = 'sshpyk';

export class Back {
  /**
   * @param {import('@jupyterlab/notebook').NotebookPanel} panel Lab's, of a notebook
   * @param {import('./kernels.js').Kernels} kernels
   * @param {import('./server.js').Server} server
   * @param {import('./words.js').Words} words
   * @param {typeof import('@jupyterlab/apputils').Notification} notification Lab's
   */
  constructor(panel, kernels, server, words, notification) {
    this._panel = panel;
    this._kernels = kernels;
    this._server = server;
    this._words = words;
    this._notification = notification;
    /** The kernel whose output is shown, and whether its websocket is there. */
    this._id = '';
    this._isConnected = false;
    /** What came while the server was asked. @type {any[]?} */
    this._waiting = null;
    /** The cells of requests that another page made. @type {Map<string, any>} */
    this._adopted = new Map();
    /** The messages that were collected: they may still come by themselves. @type {Set<string>} */
    this._had = new Set();
    /** The last message that was shown. @type {any} */
    this._last = null;
    /** The kernel from which the notebook has something, as its host calls it. */
    this._collected = '';
    /** The id of the message up to which a save has all. */
    this._saved = '';

    const context = panel.sessionContext;
    this._look = () => this.look();
    this._signals = [context.kernelChanged, context.connectionStatusChanged, context.statusChanged];
    for (const signal of this._signals) {
      signal.connect(this._look);
    }
    this._message = /** @param {any} _ @param {any} message */ (_, message) => this._take(message);
    context.iopubMessage.connect(this._message);
    this._save = /** @param {any} _ @param {string} state */ (_, state) => this._saving(state);
    panel.context.saveState.connect(this._save);
    this._end = kernels.listen(this._look);
    void panel.context.ready.then(this._look);
  }

  dispose() {
    this._end();
    for (const signal of this._signals) {
      signal.disconnect(this._look);
    }
    this._panel.sessionContext.iopubMessage.disconnect(this._message);
    this._panel.context.saveState.disconnect(this._save);
  }

  /** See whether there is a kernel that we have not yet come back to. */
  look() {
    const kernel = this._panel.sessionContext.session?.kernel;
    if (!kernel || !this._panel.context.isReady) {
      return;
    }
    const isConnected = kernel.connectionStatus === 'connected';
    const wasConnected = this._isConnected;
    this._isConnected = isConnected && kernel.id === this._id;
    if (this._kernels.withId(kernel.id)?.state !== 'connected' || !isConnected) {
      return;
    }
    if (kernel.id !== this._id) {
      this._id = kernel.id;
      this._isConnected = true;
      void this._collect(kernel.id);
    } else if (!wasConnected) {
      // The server has kept for this page what came meanwhile.
      this._quietly(this._server.post(`kernels/${kernel.id}/seeing`, { saved: '' }));
    }
  }

  /** @param {string} id */
  async _collect(id) {
    const waiting = (this._waiting = /** @type {any[]} */ ([]));
    const after = this._last?.header.msg_id ?? '';
    this._adopted.clear();
    try {
      if (!this._panel.isVisible) {
        await spareTime(); // a page with fifty notebooks shows the one that is looked at first
      }
      if (this._waiting !== waiting || this._panel.isDisposed) {
        return;
      }
      const cells = [...this._panel.content.widgets].filter(cell => cell.model.type === 'code');
      const sent = cells.map(cell => ({ ...cell.model.toJSON(), metadata: {} }));
      const known = this._panel.content.model?.getMetadata(METADATA);
      const notebook = { cells: sent, metadata: known ? { [METADATA]: known } : {} };
      const signal = new AbortController().signal;
      const path = `kernels/${id}/collect`;
      /** @type {Missed} */
      const found = await this._server.follow(path, { notebook, after }, signal, () => {});
      if (this._waiting === waiting && !this._panel.isDisposed) {
        this._fill(found, cells, sent);
      }
    } catch (error) {
      console.warn('sshpyk: what came meanwhile is not known:', error);
    } finally {
      if (this._waiting === waiting) {
        this._waiting = null;
      }
    }
  }

  /** @param {Missed} found @param {any[]} cells @param {any[]} sent what they were when it was asked */
  _fill(found, cells, sent) {
    const { say } = this._words;
    let changed = 0;
    for (const [place, { outputs, execution_count }] of Object.entries(found.cells)) {
      const cell = cells[Number(place)];
      const before = sent[Number(place)];
      const now = cell.isDisposed ? {} : cell.model.toJSON();
      if (now.source === before.source && same(now.outputs, before.outputs)) {
        cell.model.outputs.fromJSON(outputs);
        cell.model.executionCount = execution_count;
        changed += 1;
      }
    }
    for (const [request, place] of Object.entries(found.requests)) {
      this._adopted.set(request, cells[place]);
    }
    if (found.count > 0 || found.homeless.length > 0) {
      this._collected = found.kernel ?? '';
      this._panel.content.model?.setMetadata(METADATA, found.metadata);
    }
    this._had = new Set(found.messages);
    for (const message of this._waiting ?? []) {
      this._adopt(message);
    }
    this._waiting = null;
    const lines = [];
    if (changed > 0) {
      lines.push(say('%1 outputs that came while nobody was here are in their cells.', found.count));
    }
    if (found.homeless.length > 0) {
      lines.push(say('No cell has the code any more that began with: %1', found.homeless.join('; ')));
    }
    if (lines.length > 0) {
      this._notification.emit(lines.join(' '), 'info', { autoClose: 10000 });
    }
  }

  /** @param {any} message of the kernel's iopub */
  _take(message) {
    if (message.header.msg_type === 'status' && this._adopted.size === 0) {
      return;
    }
    if (this._waiting !== null) {
      this._waiting.push(message);
    } else {
      this._adopt(message);
    }
    if (OUTPUTS.includes(message.header.msg_type) || message.header.msg_type === 'execute_input') {
      this._last = message;
    }
  }

  /** Show what came for a cell that another page ran. @param {any} message */
  _adopt(message) {
    const cell = this._adopted.get(message.parent_header?.msg_id);
    if (cell === undefined || cell.isDisposed || this._had.has(message.header.msg_id)) {
      return;
    }
    const { content, header } = message;
    if (OUTPUTS.includes(header.msg_type)) {
      const { transient, ...output } = content;
      cell.model.outputs.add({ ...output, output_type: header.msg_type });
    } else if (header.msg_type === 'clear_output') {
      cell.model.outputs.clear(content.wait);
    } else if (header.msg_type === 'status' && content.execution_state === 'idle') {
      this._adopted.delete(message.parent_header.msg_id);
    }
  }

  /** @param {string} state of a save */
  _saving(state) {
    if (this._id === '' || this._last === null || !this._kernels.withId(this._id)) {
      return;
    }
    const { msg_id: id, date } = this._last.header;
    if (state === 'started') {
      this._saved = id;
      const known = this._panel.content.model?.getMetadata(METADATA);
      const at = Date.parse(date) / 1000;
      if (known && at > known[this._collected]) {
        // What came just after was collected, too, and seen.
        const now = { ...known, [this._collected]: at, last: id };
        this._panel.content.model?.setMetadata(METADATA, now);
      }
    } else if (state === 'completed' && this._saved) {
      this._quietly(this._server.post(`kernels/${this._id}/seeing`, { saved: this._saved }));
      this._saved = '';
    }
  }

  /** @param {Promise<any>} work */
  _quietly(work) {
    work.catch(error => console.warn('sshpyk:', error));
  }
}

/** @param {any} one @param {any} other */
function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Resolves when the page has nothing else to do, or after some seconds. @returns {Promise<unknown>} */
function spareTime() {
  return new Promise(resolve => {
    const canTell = 'requestIdleCallback' in window; // Safari can't
    canTell ? requestIdleCallback(resolve, { timeout: 5000 }) : setTimeout(resolve, 500);
  });
}
