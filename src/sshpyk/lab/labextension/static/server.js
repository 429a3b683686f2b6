// @ts-check
/** Requests to our part of Jupyter Server, as Lab sends its own: with its token and XSRF cookie. */

export class Server {
  /** @param {any} connection Lab's `ServerConnection` @param {any} manager its service manager */
  constructor(connection, manager) {
    this._connection = connection;
    this._settings = manager.serverSettings;
  }

  /** @param {string} path @returns {Promise<any>} */
  get(path) {
    return this._send('GET', path);
  }

  /** @param {string} path @param {any} [content] @returns {Promise<any>} */
  post(path, content) {
    return this._send('POST', path, content ?? {});
  }

  /** @param {string} path @returns {Promise<any>} */
  delete(path) {
    return this._send('DELETE', path);
  }

  /** @param {string} method @param {string} path @param {any} [content] */
  async _send(method, path, content) {
    const url = `${this._settings.baseUrl.replace(/\/$/, '')}/sshpyk/${path}`;
    /** @type {RequestInit} */
    const init = { method };
    if (content !== undefined) {
      init.body = JSON.stringify(content);
    }
    const response = await this._connection.makeRequest(url, init, this._settings);
    if (!response.ok) {
      throw new Error(`${method} ${path}: ${response.status} ${response.statusText}`);
    }
    return response.status === 204 ? null : response.json();
  }
}
