// @ts-check
/** Where JupyterLab begins: it puts in what it shares, and gets our plugin.
 *
 * By hand what a bundler would write: so nothing has to be built, and what runs is what one reads.
 * Whatever goes wrong here must not keep Lab from starting. */

(() => {
  /** @type {Record<string, Record<string, {get: () => Promise<() => any>}>>} */
  let scope = {};

  /** @param {string} name of one of Lab's packages @returns {Promise<any>} */
  async function shared(name) {
    const versions = Object.values(scope[name] ?? {});
    if (versions.length === 0) {
      throw new Error(`this JupyterLab does not share ${name}`);
    }
    return (await versions[0].get())();
  }

  async function get() {
    let plugin;
    try {
      const { make } = await import('./plugin.js');
      plugin = await make(shared);
    } catch (error) {
      console.warn('sshpyk: remote kernels are not shown here:', error);
      plugin = { id: 'sshpyk:plugin', autoStart: true, activate: () => {} };
    }
    return () => ({ __esModule: true, default: plugin });
  }

  const all = /** @type {any} */ (window);
  all._JUPYTERLAB = all._JUPYTERLAB ?? {};
  all._JUPYTERLAB.sshpyk = {
    /** @param {any} given */
    init: given => {
      scope = given;
    },
    get
  };
})();
