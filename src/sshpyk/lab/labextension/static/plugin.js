// @ts-check
/** The plugin: puts the parts together. */

import { Chip } from './chip.js';
import { Kernels } from './kernels.js';
import { Logins } from './logins.js';
import { Notices } from './notices.js';
import { Server } from './server.js';
import { Words } from './words.js';

/** What this was written for; in others it stays away. */
const KNOWN = { JupyterLab: [4], 'Jupyter Notebook': [7] };

/** The toolbars that say which kernel there is. */
const TOOLBARS = ['Notebook', 'ConsolePanel'];

/**
 * @param {(name: string) => Promise<any>} shared gives one of Lab's packages
 * @returns {Promise<any>} the plugin
 */
export async function make(shared) {
  const [apputils, services, translation, widgets] = await Promise.all(
    ['@jupyterlab/apputils', '@jupyterlab/services', '@jupyterlab/translation', '@lumino/widgets'].map(
      shared
    )
  );
  return {
    id: 'sshpyk:plugin',
    description: 'Shows where remote kernels run, and how the connection to them is.',
    autoStart: true,
    optional: [apputils.IToolbarWidgetRegistry, translation.ITranslator],
    /** @param {any} app @param {any} toolbars @param {any} translator */
    activate(app, toolbars, translator) {
      /** @param {any} panel @returns {any} */
      let widget = panel => new widgets.Widget();
      try {
        if (!isKnown(app)) {
          throw new Error(`${app.name} ${app.version} is not known`);
        }
        style();
        const words = new Words((translator ?? translation.nullTranslator).load('sshpyk'));
        const server = new Server(services.ServerConnection, app.serviceManager);
        const kernels = new Kernels(server, app.serviceManager);
        const actions = {
          retry: /** @param {string} id */ id => quietly(server.post(`kernels/${id}/retry`)),
          logIn: /** @param {string} id */ id => quietly(logins.begin(id)),
          explain: /** @param {string} title @param {string} text */ (title, text) =>
            explain(apputils, widgets, title, text)
        };
        const manager = app.serviceManager;
        const logins = new Logins(server, manager, words, actions, apputils, widgets);
        new Notices(kernels, words, actions, apputils.Notification);
        widget = panel => {
          const chip = new Chip(panel.sessionContext, kernels, words, actions);
          const made = new widgets.Widget({ node: chip.node });
          made.disposed.connect(() => chip.dispose());
          return made;
        };
      } catch (error) {
        console.warn('sshpyk: remote kernels are not shown here:', error);
      }
      for (const name of TOOLBARS) {
        toolbars?.addFactory(name, 'sshpyk', safely(widget, () => new widgets.Widget()));
      }
    }
  };
}

/** @param {any} app */
function isKnown(app) {
  const majors = /** @type {Record<string, number[]>} */ (KNOWN)[app.name];
  return majors !== undefined && majors.includes(parseInt(app.version));
}

/**
 * @param {(panel: any) => any} make @param {() => any} instead
 * @returns {(panel: any) => any} what makes it, or something empty where it can't
 */
function safely(make, instead) {
  return panel => {
    try {
      return make(panel);
    } catch (error) {
      console.error('sshpyk:', error);
      return instead();
    }
  };
}

/** @param {Promise<any>} work whose failure is logged: the kernel may be gone by now */
function quietly(work) {
  work.catch(error => console.warn('sshpyk:', error));
}

function style() {
  const link = document.createElement('link');
  link.rel = 'stylesheet';
  link.href = new URL('./style.css', import.meta.url).href;
  document.head.append(link);
}

/** @param {any} apputils @param {any} widgets @param {string} title @param {string} text */
function explain(apputils, widgets, title, text) {
  const body = new widgets.Widget();
  const shown = document.createElement('pre');
  shown.className = 'sshpyk-said';
  shown.textContent = text; // some of it is the host's: never HTML
  shown.tabIndex = 0;
  body.node.append(shown);
  return apputils.showDialog({ title, body, buttons: [apputils.Dialog.okButton()] });
}
