"""Adding, changing and removing remote kernels in a real browser."""

from __future__ import annotations

import json
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sshpyk.jupyter import kernelspec
from tests.browser.lab import Page, words
from tests.jupyter.server import Server
from tests.lab.sshd import Sshd

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.sshd


def test_a_kernel_is_added_changed_and_removed(
    browser: Browser, server: Server, sshd: Sshd
) -> None:
    with Page(browser, server, "lab/workspaces/cards") as lab:
        page = lab.page
        page.locator(".jp-LauncherCard", has_text="Remote kernel…").click()
        tab = page.locator(".sshpyk-cards")
        host = tab.get_by_label("Host, as you give it to ssh")
        host.fill("sshd")
        page.keyboard.press("Enter")
        offered = tab.get_by_role("table", name="On sshd")
        offered.wait_for()
        lab.picture("add")
        offered.get_by_role("button", name="Add").first.click()
        name = lab.dialog().locator("input")
        name.fill("<b>Far</b> Python")
        page.keyboard.press("Enter")
        cards = tab.get_by_role("table", name="Those in the launcher")
        cards.get_by_role("cell", name="<b>Far</b> Python", exact=True).wait_for()
        print(words(tab))
        assert lab.errors == []
