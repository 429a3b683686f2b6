// @ts-check
/** Requests to our part of Jupyter Server, as Lab sends its own: with its token and XSRF cookie. */

/**
 * @typedef {object} Trouble what the server says of an error
 * @property {string} code
 * @property {string} what
 * @property {string} advice
 * @property {string} command
 * @property {string} details
 */

/** What the server could not do, and says why. */
export class Refused extends Error {
  /** @param {Trouble} trouble */
  constructor(trouble) {
    super(trouble.what);
    this.trouble = trouble;
  }
}

export class Server {
  /** @param {typeof import('@jupyterlab/services').ServerConnection} connection Lab's `ServerConnection` @param {import('@jupyterlab/services').ServiceManager.IManager} manager its service manager */
  constructor(connection, manager) {
    this._connection = connection;
    this._settings = manager.serverSettings;
  }

  /** @param {string} path @returns {Promise<any>} */
  get(path) {
    return this._ask({ method: 'GET' }, path);
  }

  /** @param {string} path @param {any} [content] @returns {Promise<any>} */
  post(path, content) {
    return this._ask({ method: 'POST', body: JSON.stringify(content ?? {}) }, path);
  }

  /** @param {string} path @returns {Promise<any>} */
  delete(path) {
    return this._ask({ method: 'DELETE' }, path);
  }

  /**
   * Have something done that takes long.
   * @param {string} path @param {any} content
   * @param {AbortSignal} signal ends it, on the server, too
   * @param {(login: string) => void} onLogin called with the login that it waits for
   * @returns {Promise<any>} what came of it
   */
  async follow(path, content, signal, onLogin) {
    const init = { method: 'POST', body: JSON.stringify(content), signal };
    const response = await this._send(init, path);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    const decoder = new TextDecoder();
    let text = '';
    for (;;) {
      const { done, value } = await reader.read();
      text += decoder.decode(value, { stream: !done });
      const lines = text.split('\n');
      text = /** @type {string} */ (lines.pop());
      for (const line of lines.filter(line => line !== '').map(line => JSON.parse(line))) {
        if ('done' in line) {
          return line.done;
        }
        if ('error' in line) {
          throw new Refused(line.error);
        }
        onLogin(line.login);
      }
      if (done) {
        throw new Error(`${path}: the answer has no end`);
      }
    }
  }

  /** @param {RequestInit} init @param {string} path */
  async _ask(init, path) {
    const response = await this._send(init, path);
    const answer = response.status === 204 ? null : await response.json();
    if (answer?.error && answer.id === undefined) {
      throw new Refused(answer.error);
    }
    return answer;
  }

  /** @param {RequestInit} init @param {string} path @returns {Promise<Response>} */
  async _send(init, path) {
    const url = `${this._settings.baseUrl.replace(/\/$/, '')}/sshpyk/${path}`;
    const response = await this._connection.makeRequest(url, init, this._settings);
    if (!response.ok) {
      throw new Error(`${init.method} ${path}: ${response.status} ${response.statusText}`);
    }
    return response;
  }
}
