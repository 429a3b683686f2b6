"""JupyterLab in a real browser: Debian's Chromium, without a screen."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tests.jupyter.server import Server
from tests.lab.kernels import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Request, WebSocket
    from playwright.sync_api import Page as PlaywrightPage
    from typing_extensions import Self

#: Debian's; its Python package would download one of its own.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

#: axe-core, as a package of Python's brings it along; read where it is needed.
_axe = find_spec("axe_playwright_python")
AXE = (Path(str(_axe.origin)).parent / "axe.min.js").read_text() if _axe else ""

#: For a machine that has no screen, and a user that may be root.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

#: For the comm of the widgets' extension Lab asks the kernel for a subshell, and has nobody who
#: takes the error where the kernel is started again before it has answered.
LABS_SUBSHELL = "Canceled future for create_subshell_request message before replies were done"

#: A directory that gets a picture of what each test has seen; without it none is made.
PICTURES = os.environ.get("SSHPYK_PICTURES")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """A page of Jupyter's in a context of its own: with no cookies of others."""

    def __init__(
        self,
        browser: Browser,
        server: Server,
        path: str,
        prepare: Callable[[PlaywrightPage], object] = lambda page: None,
    ) -> None:
        """`prepare` is called before anything is loaded."""
        self.errors: list[str] = []
        # Wide enough for all of the toolbar.
        self._context = browser.new_context(viewport={"width": 1280, "height": 640})
        self.page: PlaywrightPage = self._context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.on("pageerror", self._note_error)
        self.asked: list[str] = []  # our requests: methods, and paths below /sshpyk
        self.event_sockets = 0
        self.page.on("request", self._note_request)
        self.page.on("websocket", self._note_socket)
        prepare(self.page)
        self.page.goto(server.url(path))
        self.notices: Locator = self.page.locator(".Toastify__toast")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._context.close()

    def _note_error(self, error: Exception) -> None:
        if not str(error).endswith(LABS_SUBSHELL):
            self.errors.append(str(error))

    def _note_request(self, request: Request) -> None:
        _, is_ours, path = request.url.partition("/sshpyk/")
        if is_ours and not path.startswith("static/"):
            self.asked.append(f"{request.method} {path.partition('?')[0]}")

    def _note_socket(self, socket: WebSocket) -> None:
        self.event_sockets += "events/subscribe" in socket.url

    def notice(self, text: str) -> Locator:
        """Wait for a notification with `text`; it."""
        found = self.notices.filter(has_text=text)
        found.wait_for()
        return found

    def no_notice(self, text: str) -> None:
        """Wait until no notification has `text`."""
        self.notices.filter(has_text=text).wait_for(state="detached")

    def dialog(self) -> Locator:
        """Wait for a dialog; it."""
        found = self.page.locator(".jp-Dialog-content")
        found.wait_for()
        return found

    def check_access(self, selector: str) -> None:
        """Have axe-core look at what there is: for keyboards, screen readers, and eyes."""
        if not AXE:
            assert not os.environ.get("CI"), "pip install axe-playwright-python"
            return
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE)
        found = self.page.evaluate("selector => axe.run(selector)", selector)
        serious = [
            (one["id"], one["help"], [node["html"] for node in one["nodes"]])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []
        assert found["passes"], "nothing was looked at"

    def picture(self, name: str) -> None:
        """Keep a picture of the page for the docs, where that is asked for."""
        if PICTURES:
            self.page.evaluate(
                "document.querySelectorAll('.Toastify__toast').forEach(t => "
                "{ if (/Jupyter news/.test(t.textContent)) t.style.display = 'none'; })"
            )
            self.page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))


class Notebook(Page):
    """A notebook that is open in JupyterLab, with one cell of code that has not run."""

    def __init__(self, browser: Browser, server: Server, name: str, kernel: str, code: str) -> None:
        write_notebook(Path(server.log.parent) / name, kernel, code)
        super().__init__(browser, server, f"lab/workspaces/{name.partition('.')[0]}/tree/{name}")
        self.chip: Locator = self.page.locator(".sshpyk-chip:visible")

    def wait_for(self, state: str) -> Locator:
        """Wait until the kernel is shown to be in `state`; what is shown."""
        self.page.locator(f".sshpyk-chip[data-state={state}]:visible").wait_for()
        return self.chip

    def run(self) -> None:
        """Run the cell."""
        self.page.locator(".jp-Notebook .cm-content").first.click()
        self.page.keyboard.press("Shift+Enter")

    def type(self, code: str) -> None:
        """Run `code` in the cell below the last that ran."""
        self.page.locator(".jp-Notebook .cm-content").last.click()
        self.page.keyboard.type(code)
        self.page.keyboard.press("Shift+Enter")

    def output(self, text: str) -> None:
        """Wait until a cell has printed `text`."""
        self.page.locator(".jp-OutputArea-output", has_text=text).wait_for()


def write_notebook(path: Path, kernel: str, code: str) -> None:
    """Write a notebook for `kernel` with one cell."""
    cell = {"cell_type": "code", "id": "one", "source": code}
    content = {
        "cells": [{**cell, "metadata": {}, "outputs": [], "execution_count": None}],
        "metadata": {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(content))


def words(locator: Locator) -> str:
    """What is to be read there, in one line."""
    return re.sub(r"\s+", " ", locator.inner_text()).strip()
