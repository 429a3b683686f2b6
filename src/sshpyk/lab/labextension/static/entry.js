// @ts-check
/** Where JupyterLab begins: it puts in what it shares, and gets our plugin.
 *
 * By hand what a bundler would write: so nothing has to be built, and what runs is what one reads.
 * Lab waits for this file alone: toolbars get an empty place, which is filled when Lab has begun and
 * the rest was loaded. Whatever goes wrong here must not keep Lab from starting. */

(() => {
  /** What this was written for; in others it stays away. @type {Record<string, number[]>} */
  const KNOWN = { JupyterLab: [4], 'Jupyter Notebook': [7] };

  /** The toolbars that say which kernel there is. */
  const TOOLBARS = ['Notebook', 'ConsolePanel'];

  /** What Lab has for us, as far as it does: by our names, its package and its name. */
  const TOKENS = {
    toolbars: ['apputils', 'IToolbarWidgetRegistry'],
    palette: ['apputils', 'ICommandPalette'],
    translator: ['translation', 'ITranslator'],
    launcher: ['launcher', 'ILauncher'],
    running: ['running', 'IRunningSessionManagers']
  };

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

  /** @param {any} error */
  function warn(error) {
    console.warn('sshpyk: remote kernels are not shown here:', error);
  }

  /** @returns {Promise<any>} the plugin */
  async function make() {
    const { Widget } = await shared('@lumino/widgets');
    /** @type {[string, any][]} */
    const tokens = [];
    for (const [name, [from, token]] of Object.entries(TOKENS)) {
      const found = await shared(`@jupyterlab/${from}`).catch(() => ({}));
      if (found[token] !== undefined) {
        tokens.push([name, found[token]]);
      }
    }
    return {
      id: 'sshpyk:plugin',
      description: 'Shows where remote kernels run, and how the connection to them is; adds more.',
      autoStart: true,
      optional: tokens.map(([, token]) => token),
      /** @param {import('@jupyterlab/application').JupyterFrontEnd} app @param {any[]} given */
      activate(app, ...given) {
        performance.mark('sshpyk:activate'); // up to here Lab has waited: see benchmarks/pages
        const has = Object.fromEntries(tokens.map(([name], number) => [name, given[number]]));
        const filling = begin(app, has);
        filling.catch(warn);
        for (const name of TOOLBARS) {
          has.toolbars?.addFactory(name, 'sshpyk', /** @param {any} panel */ panel => {
            const place = new Widget();
            filling.then(fill => place.isDisposed || fill(panel, place)).catch(() => {}); // was told
            return place;
          });
        }
      }
    };
  }

  /**
   * @param {import('@jupyterlab/application').JupyterFrontEnd} app @param {Record<string, any>} has
   * @returns {Promise<(panel: any, place: any) => void>} what fills the place in a panel's toolbar
   */
  async function begin(app, has) {
    if (!KNOWN[app.name]?.includes(parseInt(app.version))) {
      throw new Error(`${app.name} ${app.version} is not known`);
    }
    await app.started; // not `restored`: a cell that runs before we listen would come twice
    const plugin = await import('./plugin.js');
    return plugin.begin(app, has, shared);
  }

  const all = /** @type {any} */ (window);
  all._JUPYTERLAB = all._JUPYTERLAB ?? {};
  all._JUPYTERLAB.sshpyk = {
    /** @param {any} given */
    init: given => {
      scope = given;
    },
    async get() {
      let plugin;
      try {
        plugin = await make();
      } catch (error) {
        warn(error);
        plugin = { id: 'sshpyk:plugin', autoStart: true, activate: () => {} };
      }
      return () => ({ __esModule: true, default: plugin });
    }
  };
})();
