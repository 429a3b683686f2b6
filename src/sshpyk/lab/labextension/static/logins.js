// @ts-check
/** Logging in to a host: a dialog for each question that ssh asks. */

import { SCHEMA } from './kernels.js';

/**
 * @typedef {object} Question
 * @property {number} number
 * @property {string} text ssh's own, and the host's
 * @property {boolean} confirm whether it is to be answered with yes
 * @property {boolean} secret
 * @property {boolean} again whether the last answer was wrong
 * @property {boolean} can_keep whether there is a keyring for it
 *
 * @typedef {object} Login
 * @property {string} id
 * @property {string} host
 * @property {Question?} question
 * @property {import('./server.js').Trouble?} error
 * @property {boolean} over
 */

export class Logins {
  /**
   * @param {import('./server.js').Server} server
   * @param {import('@jupyterlab/services').ServiceManager.IManager} manager Lab's service manager
   * @param {import('./words.js').Words} words
   * @param {any} actions
   * @param {typeof import('@jupyterlab/apputils')} apputils Lab's
   * @param {typeof import('@lumino/widgets')} widgets Lumino's
   */
  constructor(server, manager, words, actions, apputils, widgets) {
    this._server = server;
    this._words = words;
    this._actions = actions;
    this._apputils = apputils;
    this._widgets = widgets;
    /** The login that was begun here, if one was. */
    this._id = '';
    this._number = -1;
    /** @type {any} */
    this._dialog = null;
    /** @type {Promise<void>} */
    this._looking = Promise.resolve();
    manager.events.stream.connect(
      /** @param {any} _ @param {any} event */ (_, event) => {
        if (event.schema_id === SCHEMA && event.about === 'logins' && this._id !== '') {
          void this._look();
        }
      }
    );
  }

  /** See what our login is at; one look after the other, so that none shows what is over. */
  _look() {
    this._looking = this._looking
      .then(() => this._lookOnce())
      .catch(error => console.warn('sshpyk: the login can not be seen:', error));
    return this._looking;
  }

  /** @param {{kernel: string}|{host: string}} to what wants a login */
  async begin(to) {
    try {
      const login = await this._server.post('logins', to);
      await this.follow(login.id);
    } catch (error) {
      this._actions.explain(this._words.say('Log in'), this._words.trouble(error));
    }
  }

  /** @param {string} login that is under way @returns {Promise<void>} */
  follow(login) {
    this._id = login;
    this._number = -1;
    return this._look();
  }

  async _lookOnce() {
    const id = this._id;
    /** @type {Login[]} */
    const logins = await this._server.get('logins');
    const login = logins.find(login => login.id === id);
    if (id === '' || this._id !== id) {
      return;
    }
    if (login === undefined || login.over) {
      this._id = '';
      this._putAway();
      if (login?.error) {
        const text = this._words.trouble({ trouble: login.error });
        this._actions.explain(this._words.say('Log in to %1', login.host), text);
      } else if (login !== undefined) {
        const message = this._words.say('You are logged in to %1.', login.host);
        this._apputils.Notification.emit(message, 'success', { autoClose: 6000 });
      }
    } else if (login.question === null) {
      this._putAway();
    } else if (login.question.number > this._number) {
      this._number = login.question.number;
      this._putAway();
      void this._ask(login, login.question);
    }
  }

  /** What it asks was answered elsewhere, or is not asked any more. */
  _putAway() {
    const dialog = this._dialog;
    this._dialog = null;
    dialog?.dispose();
  }

  /** @param {Login} login @param {Question} question */
  async _ask(login, question) {
    const { say } = this._words;
    const { Dialog } = this._apputils;
    const body = new this._widgets.Widget();
    const text = document.createElement(question.confirm ? 'div' : 'label');
    text.className = 'sshpyk-question';
    text.textContent = question.text; // the host's: never HTML
    const input = document.createElement('input');
    input.type = question.secret ? 'password' : 'text';
    input.autocomplete = 'off';
    input.className = 'jp-mod-styled sshpyk-answer';
    const keep = document.createElement('input');
    keep.type = 'checkbox';
    if (question.again) {
      const again = document.createElement('p');
      again.setAttribute('role', 'alert');
      again.textContent = say('That was not accepted. Try again.');
      body.node.append(again);
    }
    body.node.append(text);
    if (!question.confirm) {
      text.append(input);
    }
    if (question.can_keep) {
      const label = document.createElement('label');
      label.className = 'sshpyk-keep';
      label.append(keep, say('Keep it in the keyring of the machine that Jupyter runs on'));
      body.node.append(label);
    }
    const dialog = new Dialog({
      title: say('Log in to %1', login.host),
      body,
      buttons: [
        Dialog.cancelButton({ label: say('Cancel') }),
        Dialog.okButton({ label: question.confirm ? say('Yes, I trust it') : say('Log in') })
      ],
      // A key is not to be trusted by a press of Enter on what came up.
      defaultButton: question.confirm ? 0 : 1,
      focusNodeSelector: question.confirm ? '' : 'input.sshpyk-answer'
    });
    this._dialog = dialog;
    const result = await dialog.launch();
    const answer = question.confirm ? 'yes' : input.value;
    input.value = '';
    if (this._dialog !== dialog) {
      return; // it was put away
    }
    this._dialog = null;
    try {
      if (result.button.accept) {
        const given = { number: question.number, answer, keep: keep.checked };
        await this._server.post(`logins/${login.id}`, given);
      } else {
        this._id = ''; // it is over for us, and needs no explanation
        await this._server.delete(`logins/${login.id}`);
      }
    } catch (error) {
      console.warn('sshpyk: a question was not answered:', error);
    }
  }
}
