"""Notebook 7, whose pages have one document each. It is in an environment of its own: name its
Python in SSHPYK_NOTEBOOK7."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import Page, words, write_notebook
from tests.jupyter import server as jupyter
from tests.jupyter.server import Server
from tests.lab.sshd import Sshd

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.sshd


@pytest.mark.versions
def test_a_notebook_and_the_tab(
    browser: Browser, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = os.environ.get("SSHPYK_NOTEBOOK7")
    if python is None:
        pytest.skip("SSHPYK_NOTEBOOK7 names no Python that has Notebook 7")
    monkeypatch.setattr(jupyter, "PYTHON", python)
    write_notebook(tmp_path / "one.ipynb", "remote", "print(6 * 7)")
    with Server(tmp_path) as server, Page(browser, server, "notebooks/one.ipynb") as notebook:
        page = notebook.page
        chip = page.locator(".sshpyk-chip[data-state=connected]:visible")
        chip.wait_for()
        assert words(chip) == "sshd connected"
        page.locator(".jp-Notebook .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        page.locator(".jp-OutputArea-output", has_text="42").wait_for()
        notebook.picture("notebook7")
        page.keyboard.press("Control+Shift+c")
        page.locator(".lm-CommandPalette-input").fill("Remote Kernels")
        page.keyboard.press("Enter")
        cards = page.get_by_role("table", name="Those in the launcher")
        cards.get_by_role("button", name="Edit remote").wait_for()
        # Notebook 7.6 has this one without us, too.
        assert [error for error in notebook.errors if "reading 'schema'" not in error] == []
