// @ts-check
/** The plugin: puts the parts together. */

import { Back } from './back.js';
import { Cards } from './cards.js';
import { Chip } from './chip.js';
import { Hosts } from './hosts.js';
import { Kernels } from './kernels.js';
import { Logins } from './logins.js';
import { Notices } from './notices.js';
import { Restarts } from './restarts.js';
import { Server } from './server.js';
import { Words } from './words.js';

/** Two machines, and the way between them. */
const ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><g class="jp-icon3" fill="#616161">' +
  '<path d="M3 4h8v6H3zM13 14h8v6h-8z"/><path d="M6 11h2v5h4v2H6zM18 13h-2V8h-4V6h6z"/></g></svg>';

/** What we use of Lab: all of the first, and of the rest what there is. */
const NEEDED = ['apputils', 'services', 'translation', 'ui-components'];
const USED = ['running'];
const LUMINO = ['widgets', 'messaging', 'signaling'];

/**
 * Put the parts together.
 * @param {import('@jupyterlab/application').JupyterFrontEnd} app @param {Record<string, any>} has what Lab has for us
 * @param {(name: string) => Promise<any>} shared gives one of Lab's packages
 * @returns {Promise<(panel: any, place: any) => void>} what fills the place in a panel's toolbar
 */
export async function begin(app, has, shared) {
  /** @type {Record<string, any>} */
  const lab = {};
  await Promise.all([
    ...LUMINO.map(async name => (lab[name] = await shared(`@lumino/${name}`))),
    ...NEEDED.map(async name => (lab[name] = await shared(`@jupyterlab/${name}`))),
    ...USED.map(async name => (lab[name] = await shared(`@jupyterlab/${name}`).catch(() => ({}))))
  ]);
  const { apputils, services, translation, widgets } = lab;
  style();
  const manager = app.serviceManager;
  const words = new Words((has.translator ?? translation.nullTranslator).load('sshpyk'));
  const server = new Server(services.ServerConnection, manager);
  const kernels = new Kernels(server, manager);
  const restarts = new Restarts(kernels, apputils, services, manager, has.translator);
  const actions = {
    restart: /** @param {string} id */ id =>
      restarts.restart(id).catch(error => explain(apputils, widgets, words.say('Restart'), words.trouble(error))),
    retry: /** @param {string} id */ id => quietly(server.post(`kernels/${id}/retry`)),
    logIn: /** @param {string} id */ id => quietly(logins.begin({ kernel: id })),
    logInTo: /** @param {string} host */ host => quietly(logins.begin({ host })),
    measure: /** @param {string} id */ id =>
      server.post(`kernels/${id}/measure`).catch(() => ({})),
    follow: /** @param {string} login */ login => quietly(logins.follow(login)),
    explain: /** @param {string} title @param {string} text */ (title, text) =>
      explain(apputils, widgets, title, text)
  };
  const logins = new Logins(server, manager, words, actions, apputils, widgets);
  new Notices(kernels, words, actions, apputils.Notification);
  const icon = new lab['ui-components'].LabIcon({ name: 'sshpyk:remote', svgstr: ICON });
  const refresh = () => manager.kernelspecs.refreshSpecs();
  const makeCards = () => new Cards(server, words, actions, apputils, widgets, refresh);
  addCards(app, lab, has, makeCards, words, icon);
  has.running?.add(new Hosts(app, lab, server, kernels, words, actions, icon));
  // Each notebook has a toolbar, and so a chip.
  return (panel, place) => {
    try {
      const chip = new Chip(panel.sessionContext, kernels, words, actions);
      place.node.append(chip.node);
      place.disposed.connect(() => chip.dispose());
      place.disposed.connect(restarts.know(panel.sessionContext));
      if (panel.context !== undefined) {
        const back = new Back(panel, kernels, server, words, apputils.Notification);
        place.disposed.connect(() => back.dispose());
      }
    } catch (error) {
      console.error('sshpyk:', error);
    }
  };
}

/**
 * The command and the launcher's card that open the tab "Remote kernels".
 * @param {import('@jupyterlab/application').JupyterFrontEnd} app @param {Record<string, any>} lab @param {Record<string, any>} has
 * @param {() => Cards} make @param {import('./words.js').Words} words @param {import('@jupyterlab/ui-components').LabIcon} icon
 */
function addCards(app, lab, has, make, words, icon) {
  const { say } = words;
  /** @type {any} */
  let tab = null;
  app.commands.addCommand('sshpyk:cards', {
    label: /** @param {any} args */ args =>
      args.isPalette ? say('Remote Kernels: Add, Edit, Remove') : say('Remote kernel…'),
    caption: say('Look at a host and add its kernels'),
    icon: /** @param {any} args */ args => (args.isPalette ? undefined : icon),
    execute: () => {
      if (tab === null || tab.isDisposed) {
        const cards = make();
        const content = new lab.widgets.Widget({ node: cards.node });
        content.disposed.connect(() => cards.dispose());
        tab = new lab.apputils.MainAreaWidget({ content });
        tab.id = 'sshpyk-cards';
        tab.title.label = say('Remote kernels');
        tab.title.icon = icon;
        tab.title.closable = true;
        // Notebook 7 has room for one document, and a sidebar.
        app.shell.add(tab, app.name === 'JupyterLab' ? 'main' : 'right');
      }
      app.shell.activateById(tab.id);
      tab.content.node.querySelector('input')?.focus();
    }
  });
  has.launcher?.add({ command: 'sshpyk:cards', category: 'Other', rank: 0 });
  const palette = { command: 'sshpyk:cards', category: say('Kernel Operations'), args: { isPalette: true } };
  has.palette?.addItem(palette);
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

/** @param {typeof import('@jupyterlab/apputils')} apputils @param {typeof import('@lumino/widgets')} widgets @param {string} title @param {string} text */
function explain(apputils, widgets, title, text) {
  const body = new widgets.Widget();
  const shown = document.createElement('pre');
  shown.className = 'sshpyk-said';
  shown.textContent = text; // some of it is the host's: never HTML
  shown.tabIndex = 0;
  body.node.append(shown);
  return apputils.showDialog({ title, body, buttons: [apputils.Dialog.okButton()] });
}
