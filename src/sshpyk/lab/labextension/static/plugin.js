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

/** What this was written for; in others it stays away. */
const KNOWN = { JupyterLab: [4], 'Jupyter Notebook': [7] };

/** Two machines, and the way between them. */
const ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><g class="jp-icon3" fill="#616161">' +
  '<path d="M3 4h8v6H3zM13 14h8v6h-8z"/><path d="M6 11h2v5h4v2H6zM18 13h-2V8h-4V6h6z"/></g></svg>';

/** The toolbars that say which kernel there is. */
const TOOLBARS = ['Notebook', 'ConsolePanel'];

/** What we use of Lab: all of the first, and of the rest what there is. */
const NEEDED = ['apputils', 'services', 'translation', 'ui-components'];
const USED = ['launcher', 'running'];

/**
 * @param {(name: string) => Promise<any>} shared gives one of Lab's packages
 * @returns {Promise<any>} the plugin
 */
export async function make(shared) {
  const lumino = ['widgets', 'messaging', 'signaling'];
  const [widgets, messaging, signaling] = await Promise.all(
    lumino.map(name => shared(`@lumino/${name}`))
  );
  /** @type {Record<string, any>} */
  const lab = { widgets, messaging, signaling };
  await Promise.all([
    ...NEEDED.map(async name => (lab[name] = await shared(`@jupyterlab/${name}`))),
    ...USED.map(async name => (lab[name] = await shared(`@jupyterlab/${name}`).catch(() => ({}))))
  ]);
  /** What Lab has for us, as far as it does. @type {Record<string, any>} */
  const tokens = {
    toolbars: lab.apputils.IToolbarWidgetRegistry,
    palette: lab.apputils.ICommandPalette,
    translator: lab.translation.ITranslator,
    launcher: lab.launcher.ILauncher,
    running: lab.running.IRunningSessionManagers
  };
  const names = Object.keys(tokens).filter(name => tokens[name] !== undefined);
  return {
    id: 'sshpyk:plugin',
    description: 'Shows where remote kernels run, and how the connection to them is; adds more.',
    autoStart: true,
    optional: names.map(name => tokens[name]),
    /** @param {any} app @param {any[]} given */
    activate(app, ...given) {
      const has = Object.fromEntries(names.map((name, number) => [name, given[number]]));
      /** @param {any} panel @returns {any} */
      let chip = panel => new widgets.Widget();
      try {
        if (!isKnown(app)) {
          throw new Error(`${app.name} ${app.version} is not known`);
        }
        chip = begin(app, lab, has);
      } catch (error) {
        console.warn('sshpyk: remote kernels are not shown here:', error);
      }
      for (const name of TOOLBARS) {
        has.toolbars?.addFactory(name, 'sshpyk', safely(chip, () => new widgets.Widget()));
      }
    }
  };
}

/**
 * Put the parts together.
 * @param {any} app @param {Record<string, any>} lab its packages @param {Record<string, any>} has
 * @returns {(panel: any) => any} what makes the chip of a notebook or console
 */
function begin(app, lab, has) {
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
  return panel => {
    const chip = new Chip(panel.sessionContext, kernels, words, actions);
    const made = new widgets.Widget({ node: chip.node });
    made.disposed.connect(() => chip.dispose());
    made.disposed.connect(restarts.know(panel.sessionContext));
    if (panel.context !== undefined) {
      const back = new Back(panel, kernels, server, words, apputils.Notification);
      made.disposed.connect(() => back.dispose());
    }
    return made;
  };
}

/**
 * The command and the launcher's card that open the tab "Remote kernels".
 * @param {any} app @param {Record<string, any>} lab @param {Record<string, any>} has
 * @param {() => Cards} make @param {import('./words.js').Words} words @param {any} icon
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
