"""What a user of JupyterLab sees of a remote kernel, in a real browser."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sshpyk.wire import cgroups
from tests.browser.lab import Notebook, words
from tests.jupyter.server import Server
from tests.lab.accounts import locked_config
from tests.lab.kernels import write_spec
from tests.lab.memory import limited
from tests.lab.sshd import Sshd
from tests.starts.test_kernels import install

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = pytest.mark.sshd

#: Prints before, in and after an outage, as the files say when.
LINES = """
import time
for number in range(120):
    print(f"line {number}", flush=True)
    time.sleep(0.05)
"""

#: Serves a page.
SERVE = """
import http.server, threading
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"served by a kernel")
server = http.server.HTTPServer(("127.0.0.1", 0), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"http://localhost:{server.server_port}/page")
"""

#: Dies with last words that a page must not obey.
DIE = """
import os, sys
last = b"<img src=x onerror='window.obeyed = 1'>\\x1b[31m **bold**\\n"
os.write(sys.stderr._original_stdstream_copy, last)
os._exit(3)
"""

#: Takes nearly all of the memory that the test allows.
TAKE = """
kept = []
while int(open({used!r}).read()) < {size}:
    kept.append(b"x" * 2_000_000)
"""

#: Takes more memory than the test allows.
GREEDY = "taken = bytearray(600_000_000); taken[::4096] = b'x' * len(taken[::4096])"


#: What the page says of a connection, once that was measured.
MEASURED = """
() => [...document.querySelectorAll('.sshpyk-chip')]
  .map(chip => chip.title).find(title => title.includes('Round trip: '))
"""


@pytest.mark.versions
def test_an_outage_and_the_return(browser: Browser, server: Server, sshd: Sshd) -> None:
    assert sshd.link is not None
    sshd.link.hole()  # so that the start can be seen, however quick it is
    with Notebook(browser, server, "outage.ipynb", "remote", LINES) as notebook:
        chip = notebook.wait_for("starting")
        stages = re.compile("starting: (logging in|starting the kernel there|conn|wait)")
        chip.filter(has_text=stages).wait_for()
        assert words(chip).startswith("sshd starting: ")
        sshd.link.heal()
        notebook.wait_for("connected")
        status = chip.get_by_role("status")
        assert status.get_attribute("aria-label") == "Kernel on sshd: connected"
        assert "Kernel: Python 3" in (chip.get_attribute("title") or "")
        chip.hover()
        # At once: it may be told anew without in the next moment.
        title = str(notebook.page.wait_for_function(MEASURED).json_value())
        assert re.search(r"Node: .+\nAgent: [\w-]+\nEnvironment: .*python", title), title
        assert re.search(r"Round trip: \d+ ms\nOutput waiting: [\d.]+ k?B", title), title

        notebook.run()
        notebook.output("line 3\n")
        sshd.link.refuse()
        assert sshd.link.cut() > 0
        notebook.wait_for("away")
        assert re.match(r"sshd away since \d+:\d\d", words(chip))
        notice = notebook.notice("sshd is out of reach since")  # once it has lasted
        notebook.picture("away")
        notebook.check_access(".sshpyk-chip")
        notice.get_by_role("button", name="Why").click()
        assert "ssh could not connect to sshd" in words(notebook.dialog())
        notebook.page.keyboard.press("Escape")

        sshd.link.accept()
        chip.get_by_role("button", name="Retry now").click()
        notebook.wait_for("connected")
        notebook.notice("sshd is back after")
        notebook.no_notice("out of reach")
        notebook.output("line 119\n")
        (text,) = notebook.page.locator(".jp-OutputArea-output").all_inner_texts()
        assert text.split() == " ".join(f"line {number}" for number in range(120)).split()
        assert notebook.errors == []
        # Nothing polls, whatever the time that this took: each request has its reason.
        assert notebook.event_sockets == 1
        asked = [re.sub("kernels/[^/]+/", "", request) for request in notebook.asked]
        kept = ("GET kernels", "POST seeing")  # the second with each save
        assert sorted(one for one in asked if one not in kept) == [
            "POST collect",
            "POST measure",
            "POST retry",
        ]
        assert asked.count("GET kernels") <= 4  # the page, and the kernel that came


def test_a_kernel_that_dies(browser: Browser, server: Server) -> None:
    with Notebook(browser, server, "dies.ipynb", "remote", DIE) as notebook:
        notebook.wait_for("connected")
        notebook.run()
        notice = notebook.notice("The kernel on sshd died: ")
        # Jupyter starts it again, and asks nobody; why it died can still be read.
        notebook.page.locator(".jp-Dialog-button:visible").first.click()
        notebook.wait_for("connected")
        notice.get_by_role("button", name="Why").click()
        said = notebook.dialog().locator("pre").inner_text()
        assert "<img src=x onerror='window.obeyed = 1'>" in said
        assert "**bold**" in said
        assert "\x1b" not in said
        notebook.page.keyboard.press("Escape")
        notebook.type("works = 6 * 7; print('works', works)")
        notebook.output("works 42\n")
        assert notebook.page.evaluate("window.obeyed") is None
        # What it serves can be opened from here.
        notebook.page.locator(".jp-Notebook .cm-content").last.click()
        notebook.page.keyboard.insert_text(SERVE)
        notebook.page.keyboard.press("Shift+Enter")
        link = notebook.chip.get_by_role("link", name="Open localhost:")
        link.wait_for()
        with notebook.page.expect_popup() as popup:
            link.click()
        popup.value.get_by_text("served by a kernel").wait_for()
        assert notebook.errors == []


def test_a_kernel_that_is_killed_by_memory(
    browser: Browser, server: Server, sshd: Sshd, remote_home: Path
) -> None:
    with limited(300_000_000) as group:
        python = f"{sys.executable} -m ipykernel_launcher"
        script = f"echo $$ > {group}/cgroup.procs; exec {python} -f $0"
        install(remote_home, "limited", "/bin/sh", "-c", script, "{connection_file}")
        write_spec("limited", sshd, remote_kernel_name="limited")
        try:
            used = next(group / name for name in cgroups.USED.values() if (group / name).exists())
            take = TAKE.format(used=str(used), size=290_000_000)
            with Notebook(browser, server, "memory.ipynb", "limited", take) as notebook:
                notebook.wait_for("connected")
                notebook.run()
                notice = notebook.notice("Memory on sshd is almost full: ")
                assert re.search(r": 2[789]\d MB of 300 MB\. A kernel", words(notice))
                assert "Memory almost full" in (notebook.chip.get_attribute("title") or "")
                notebook.type("del kept")
                notebook.no_notice("Memory on sshd is almost full")  # with its cause
                notebook.type(GREEDY)
                notice = notebook.notice("The kernel on sshd died: killed for want of memory")
                assert " MB of the 300.0 MB that the host allows it" in words(notice)
                assert notebook.errors == []
        finally:
            for kernel in server.call("GET", "kernels")[1]:
                if kernel["name"] == "limited":
                    server.shut_down(kernel["id"])


@pytest.mark.versions
def test_lab_starts_without_us(browser: Browser, server: Server) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(body="throw new Error('broken')", content_type="text/javascript")

    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.route("**/sshpyk/static/plugin.js*", refuse)
    page.goto(server.url("lab/workspaces/without/tree/server.log"))
    page.get_by_role("tab", name="server.log").wait_for()
    assert [url for url in asked if url.endswith("sshpyk/static/plugin.js")]
    assert page.locator(".sshpyk-chip").count() == 0
    page.close()


def test_a_start_that_waits_for_a_login(
    browser: Browser, server: Server, sshd: Sshd, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    lines = (f'UserKnownHostsFile "{known}"', "StrictHostKeyChecking ask")
    config, _ = locked_config(sshd, tmp_path, *lines)
    write_spec("locked", sshd, ssh_host_alias="locked", ssh_config=str(config))
    with Notebook(browser, server, "login.ipynb", "locked", "print(6 * 7)") as notebook:
        chip = notebook.wait_for("login")
        assert words(chip) == "locked needs you to log in Log in"
        notice = notebook.notice("locked needs you to log in.")
        notice.get_by_role("button", name="Log in").click()

        dialog = notebook.dialog()
        assert "ED25519 key fingerprint is SHA256:" in words(dialog)
        notebook.page.keyboard.press("Enter")  # not by that: it is the button "Cancel"
        dialog.wait_for(state="detached")
        assert not known.exists()

        chip.get_by_role("button", name="Log in").click()
        notebook.dialog().get_by_role("button", name="Yes, I trust it").click()
        dialog = notebook.dialog().filter(has_text="Enter passphrase for key")
        dialog.wait_for()
        assert known.exists()
        assert dialog.locator("input").first.get_attribute("type") == "password"
        notebook.page.keyboard.type("wrong")
        notebook.page.keyboard.press("Enter")
        notebook.dialog().filter(has_text="That was not accepted.").wait_for()
        notebook.picture("login")
        notebook.check_access(".jp-Dialog-body")
        notebook.page.keyboard.type("open sesame")
        notebook.page.keyboard.press("Enter")

        notebook.wait_for("connected")
        notebook.notice("You are logged in to locked.")
        notebook.no_notice("needs you to log in")
        notebook.run()
        notebook.output("42\n")
        assert notebook.errors == []
    assert "open sesame" not in server.log.read_text()
