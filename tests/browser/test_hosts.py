"""The kernels that run on hosts, in JupyterLab's panel of what runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import Page, words
from tests.jupyter.server import Server
from tests.lab.kernels import run_code, started, write_spec
from tests.lab.sshd import Sshd

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.sshd


def test_what_runs_on_hosts(browser: Browser, server: Server, sshd: Sshd) -> None:
    write_spec("named", sshd, session="analysis")
    with started("named") as (_, client):
        run_code(client, "import os; x = 41; os.write(1, b'to the log')")
    with Page(browser, server, "lab/workspaces/hosts") as lab:
        page = lab.page
        page.set_viewport_size({"width": 1280, "height": 900})
        page.get_by_role("tab", name="Running Terminals and Kernels").click()
        panel = page.locator("#jp-running-sessions")
        item = panel.locator(
            ".jp-RunningSessions-item", has_text=re.compile("analysis.*idle since")
        ).last
        item.click()
        said = words(lab.dialog())
        assert re.search(r"Session analysis Whose nobody, since \d+:\d\d", said), said
        assert re.search(r"Memory \d+ MB Output waiting 0 B Process \d+", said), said
        lab.check_access(".sshpyk-facts")
        page.keyboard.press("Escape")
        lab.picture("hosts")
        item.click()
        lab.dialog().get_by_role("button", name="Logs").click()
        assert "to the log" in words(lab.dialog())
        page.keyboard.press("Escape")

        item.click()
        facts = lab.dialog()
        facts.get_by_role("button", name="Attach a notebook").click()
        page.locator(".sshpyk-chip[data-state=connected]:visible").wait_for()
        page.locator(".jp-Notebook .cm-content").last.click()
        page.keyboard.type("print('answer', x + 1)")
        page.keyboard.press("Shift+Enter")
        page.locator(".jp-OutputArea-output", has_text="answer 42").wait_for()
        item = panel.locator(
            ".jp-RunningSessions-item", has_text=re.compile("analysis.*idle since")
        ).last
        item.click()
        said = words(lab.dialog())
        assert "Whose Untitled.ipynb" in said
        facts.get_by_role("button", name="Stop").click()
        item.wait_for(state="detached")
        assert lab.errors == []
