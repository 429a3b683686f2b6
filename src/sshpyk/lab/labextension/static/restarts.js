// @ts-check
/** Starting a kernel again that has died, as its notebook or console would do it. */

import { hasDied } from './words.js';

export class Restarts {
  /**
   * @param {import('./kernels.js').Kernels} kernels
   * @param {typeof import('@jupyterlab/apputils')} apputils Lab's
   * @param {typeof import('@jupyterlab/services')} services Lab's
   * @param {import('@jupyterlab/services').ServiceManager.IManager} manager Lab's service manager
   * @param {import('@jupyterlab/translation').ITranslator|undefined} translator Lab's, if there is one
   */
  constructor(kernels, apputils, services, manager, translator) {
    this._kernels = kernels;
    this._services = services;
    this._manager = manager;
    this._dialogs = new apputils.SessionContextDialogs({ translator });
    /** @type {Set<any>} those of the notebooks and consoles that are open */
    this._contexts = new Set();
  }

  /** @param {import('@jupyterlab/apputils').ISessionContext} context Lab's session context @returns {() => void} what forgets it */
  know(context) {
    this._contexts.add(context);
    return () => this._contexts.delete(context);
  }

  /** @param {string} id Jupyter's, of a kernel that has died @returns {Promise<any>} */
  restart(id) {
    const context = [...this._contexts].find(known => known.session?.kernel?.id === id);
    if (context === undefined) {
      return this._services.KernelAPI.restartKernel(id, this._manager.serverSettings);
    }
    const state = this._kernels.withId(id);
    // Jupyter may have been quicker: what has been computed since is lost only if a person says so.
    const isDead = state === undefined || hasDied(state);
    return isDead ? context.restartKernel() : this._dialogs.restart(context);
  }
}
