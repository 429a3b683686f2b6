"""Coming back to a notebook whose cell ran on while no browser was there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import Notebook, Page
from tests.jupyter.server import Server
from tests.lab.kernels import write_spec
from tests.lab.sshd import Sshd

if TYPE_CHECKING:
    from playwright.sync_api import Browser, WebSocketRoute
    from playwright.sync_api import Page as PlaywrightPage

pytestmark = pytest.mark.sshd

#: Prints on while a file is not there.
CODE = """
import os, time
number = 0
while not os.path.exists("{stop}"):
    print(f"line {{number}}", flush=True)
    number += 1
    time.sleep(0.05)
print("done", number)
"""


class Late:
    """Holds what a kernel prints back from a page: as if it came later than what is collected."""

    def __init__(self) -> None:
        self.held: list[tuple[WebSocketRoute, str | bytes]] = []
        self._is_holding = True

    def hold(self, page: PlaywrightPage) -> None:
        """To be called before the page is loaded."""

        def pass_on(socket: WebSocketRoute) -> None:
            def took(message: str | bytes) -> None:
                if self._is_holding and b'"stream"' in message:
                    self.held.append((socket, message))
                else:
                    socket.send(message)

            socket.connect_to_server().on_message(took)

        page.route_web_socket(re.compile("/channels"), pass_on)

    def release(self) -> None:
        """Send it now, and all that comes from now on as it comes."""
        self._is_holding = False
        for socket, message in self.held:
            socket.send(message)


def test_a_browser_that_was_closed(
    browser: Browser, server: Server, sshd: Sshd, tmp_path: Path
) -> None:
    stop = tmp_path / "stop"
    with Notebook(browser, server, "back.ipynb", "remote", CODE.format(stop=stop)) as notebook:
        notebook.wait_for("connected")
        notebook.run()
        notebook.output("line 3\n")
        notebook.page.keyboard.press("Control+s")
        notebook.output("line 20\n")
    late = Late()
    with Page(browser, server, "lab/workspaces/back/tree/back.ipynb", late.hold) as again:
        again.notice("outputs that came while nobody was here are in their cells.")
        assert late.held
        late.release()
        again.picture("back")
        stop.touch()
        again.page.locator(".jp-OutputArea-output", has_text="done").wait_for()
        assert_complete(again)


def test_a_server_that_was_restarted(browser: Browser, sshd: Sshd, tmp_path: Path) -> None:
    """The kernel is named: it goes on, and the next server comes back to it."""
    write_spec("named", sshd, session="analysis")
    stop, root = tmp_path / "stop", tmp_path / "root"
    root.mkdir()
    with (
        Server(root) as server,
        Notebook(browser, server, "named.ipynb", "named", CODE.format(stop=stop)) as notebook,
    ):
        notebook.wait_for("connected")
        notebook.run()
        notebook.output("line 3\n")
        notebook.page.keyboard.press("Control+s")
        notebook.output("line 20\n")
    with (
        Server(root) as server,
        Page(browser, server, "lab/workspaces/named/tree/named.ipynb") as again,
    ):
        again.notice("outputs that came while nobody was here are in their cells.")
        stop.touch()
        again.page.locator(".jp-OutputArea-output", has_text="done").wait_for()
        assert_complete(again)
        # Saved and opened again, nothing comes twice.
        again.page.keyboard.press("Control+s")
        again.page.locator(".jp-NotebookPanel.jp-mod-dirty").wait_for(state="detached")
        again.page.reload()
        again.page.locator(".sshpyk-chip[data-state=connected]:visible").wait_for()
        again.page.locator(".jp-OutputArea-output", has_text="done").wait_for()
        type_code(again, "print('still', number)")
        again.page.locator(".jp-OutputArea-output", has_text="still").wait_for()
        assert_complete(again)
        # It would go on without its server, and a shutdown would only leave it.
        (state,) = server.call("GET", "kernels", below="sshpyk")[1]["kernels"]
        path = f"hosts/kernels/{state['about']['agent']}/stop"
        assert server.call("POST", path, {"host": "sshd"}, below="sshpyk")[0] == 200


def assert_complete(page: Page) -> None:
    """The output of `CODE` is there, all of it and once."""
    text = page.page.locator(".jp-OutputArea-output").first.inner_text()
    *lines, _, count = text.split()
    assert lines[1::2] == [str(number) for number in range(int(count))], text
    assert page.errors == []


def type_code(page: Page, code: str) -> None:
    """Run it in the last cell."""
    page.page.locator(".jp-Notebook .cm-content").last.click()
    page.page.keyboard.type(code)
    page.page.keyboard.press("Shift+Enter")
