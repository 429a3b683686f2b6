"""Adding, changing and removing remote kernels in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sshpyk.jupyter import kernelspec
from tests.browser.lab import Page, words
from tests.cli.hosts import MYLANG, RichHost, spec
from tests.jupyter.server import Server
from tests.lab.accounts import locked_config
from tests.lab.kernels import write_spec

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.sshd

#: A name that a page must not obey.
HOSTILE = "<img src=x onerror='window.obeyed = 1'>"


def test_a_kernel_is_added_changed_and_removed(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    rich = RichHost(tmp_path / "home")
    config, _ = locked_config(rich.sshd, tmp_path)
    place = {"ssh_host_alias": "locked", "ssh_config": str(config)}
    write_spec("locked", rich.sshd, **place)
    try:
        with Page(browser, server, "lab/workspaces/cards") as lab:
            page = lab.page
            page.locator(".jp-LauncherCard", has_text="Remote kernel…").click()
            tab = page.locator(".sshpyk-cards")
            said = tab.get_by_role("status")
            host = tab.get_by_label("Host, as you give it to ssh")
            cards = tab.get_by_role("table", name="Those in the launcher")
            cards.get_by_role("button", name="Edit locked").wait_for()
            assert tab.locator("datalist option[value=locked]").count() == 1

            host.fill("https://example.org/hub")
            page.keyboard.press("Enter")
            assert "sshpyk add https://example.org/hub" in words(lab.dialog())
            page.keyboard.press("Escape")

            # The look waits for a person to log in, then goes on by itself.
            host.fill("locked")
            page.keyboard.press("Enter")
            lab.dialog().filter(has_text="Enter passphrase for key").wait_for()
            assert words(said) == "Looking at locked …"
            page.keyboard.type("open sesame")
            page.keyboard.press("Enter")
            offered = tab.get_by_role("table", name="On locked")
            offered.get_by_role("cell", name="My Läng", exact=True).wait_for()
            gone = offered.get_by_role("row", name="Gone")
            assert "its program /no/such/program is not there" in words(gone)
            assert gone.get_by_role("button").count() == 0
            lab.picture("add")

            specs = rich.home / ".local/share/jupyter/kernels"
            spec(specs / "hostile", {**MYLANG, "display_name": f"{HOSTILE}\x1b[31m"})
            tab.get_by_role("button", name="Look").click()
            offered.get_by_role("cell", name=HOSTILE).first.wait_for()
            assert HOSTILE in offered.inner_text()
            assert "\x1b" not in offered.inner_text()
            lab.check_access(".sshpyk-cards")

            plain = offered.get_by_role("row", name="plain", exact=False).filter(has_text="missing")
            plain.get_by_role("button").click()
            lab.dialog().locator("input").fill("Far <b>Python</b>")
            page.keyboard.press("Enter")
            question = lab.dialog().filter(has_text="has no ipykernel. Install it there now?")
            assert str(rich.plain) in words(question)
            question.get_by_role("button", name="Install").click()
            cards.get_by_role("cell", name="Far <b>Python</b>", exact=True).wait_for()
            assert kernelspec.find("ssh_locked_plain").config == {
                **place,
                "remote_python": str(rich.plain),
                "remote_kernel_name": "python3",
            }

            # The launcher has it, without a reload.
            page.get_by_role("tab", name="Launcher").click()
            card = page.locator(".jp-LauncherCard", has_text="Far <b>Python</b>")
            card.first.wait_for()
            page.get_by_role("tab", name="Remote kernels").click()

            cards.get_by_role("button", name="Edit Far <b>Python</b>").click()
            form = lab.dialog()
            form.get_by_label("Name in Jupyter").fill("Near Python")
            form.get_by_label("Set more").select_option("launch_timeout")
            form.get_by_label("launch_timeout", exact=True).fill("0")
            form.get_by_role("button", name="Save").click()
            lab.dialog().filter(has_text="launch_timeout: 0 is not what it takes").wait_for()
            page.keyboard.press("Escape")
            cards.get_by_role("button", name="Edit Far <b>Python</b>").click()
            form.get_by_label("Name in Jupyter").fill("Near Python")
            form.get_by_label("Set more").select_option("setup")
            form.get_by_label("setup", exact=True).fill("module load x\nexport A=1")
            lab.check_access(".sshpyk-settings")
            form.get_by_role("button", name="Save").click()
            cards.get_by_role("cell", name="Near Python", exact=True).wait_for()
            setup = kernelspec.find("ssh_locked_plain").config["setup"]
            assert setup == ["module load x", "export A=1"]

            cards.get_by_role("button", name="Remove Near Python").click()
            lab.dialog().get_by_role("button", name="Remove").click()
            cards.get_by_role("cell", name="Near Python", exact=True).wait_for(state="detached")
            card.first.wait_for(state="detached")
            assert "ssh_locked_plain" not in kernelspec.all_specs()
            assert page.evaluate("window.obeyed") is None
            assert lab.errors == []
    finally:
        kernelspec.remove(kernelspec.find("locked"))
        rich.close()
