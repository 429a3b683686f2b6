// @ts-check
/** Logging in to a host: a dialog for each question that ssh asks. */

export class Logins {
  /** @param {any} server @param {any} words @param {any} apputils @param {any} widgets */
  constructor(server, words, apputils, widgets) {
    this._server = server;
  }

  /** @param {string} id of a kernel whose host wants a login */
  async begin(id) {
    await this._server.post('logins', { kernel: id });
  }
}
