"""How long JupyterLab's page takes to load with many notebooks, with our front end and without it.

    python -m benchmarks.pages [--notebooks N] [--runs N] [--seconds S]

A real Chromium opens a workspace whose notebooks share one remote kernel: with our extension, and
with it disabled, in turn. What is timed ends when all notebooks have their toolbars. The difference
is that of each pair; no pair is begun after S seconds. Only a quiet machine tells 50 ms from noise.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.lab import chromium, write_notebook
from tests.jupyter.server import Server
from tests.lab.kernels import write_spec
from tests.lab.sshd import Sshd

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Seconds for one page.
PATIENCE = 90.0

READY = "count => document.querySelectorAll('.jp-NotebookPanel-toolbar').length >= count"


def open_all(server: Server, root: Path, count: int) -> dict[str, Any]:
    """Notebooks that share a kernel; a workspace that has them all open."""
    kernel = server.start_kernel("remote")
    names = [f"{number}.ipynb" for number in range(count)]
    tabs = [f"notebook:{name}" for name in names]
    dock = {"type": "tab-area", "currentIndex": 0, "widgets": tabs}
    data: dict[str, Any] = {"layout-restorer:data": {"main": {"dock": dock}}}
    for name, tab in zip(names, tabs, strict=True):
        write_notebook(root / name, "remote", "print(1)")
        session = {"path": name, "name": name, "type": "notebook", "kernel": {"id": kernel}}
        status, answer = server.call("POST", "sessions", session)
        assert status == 201, answer
        data[tab] = {"data": {"path": name, "factory": "Notebook"}}
    return {"data": data, "metadata": {"id": "many"}}


def load(browser: Browser, server: Server, count: int, chips: int) -> float:
    """Seconds that the page takes; `chips` of ours must then be there, or come."""
    context = browser.new_context()
    try:
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        began = time.monotonic()
        page.goto(server.url("lab/workspaces/many"), wait_until="commit")
        page.wait_for_function(READY, arg=count, polling=10)
        seconds = time.monotonic() - began
        arrived = "count => document.querySelectorAll('.sshpyk-chip').length == count"
        page.wait_for_function(arrived, arg=chips)
        return seconds
    finally:
        context.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--notebooks", type=int, default=50)
    parser.add_argument("--runs", type=int, default=15, help="pairs, after one that is not counted")
    parser.add_argument("--seconds", type=float, default=200.0, help="when the last pair begins")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as directory:
        os.environ["SSHPYK_FORK_SERVER"] = "0"  # one would stay for a while
        os.environ["XDG_RUNTIME_DIR"] = directory
        for name in ("RUNTIME", "DATA", "CONFIG"):
            os.environ[f"JUPYTER_{name}_DIR"] = os.path.join(directory, name.lower())
        home, root = Path(directory) / "home", Path(directory) / "root"
        home.mkdir()
        root.mkdir()
        config = Path(directory) / "config" / "labconfig" / "page_config.json"
        config.parent.mkdir(parents=True)
        found: list[dict[bool, float]] = []
        with Sshd(home=home) as sshd:
            write_spec("remote", sshd)
            with Server(root) as server, chromium() as browser:
                workspace = open_all(server, root, options.notebooks)
                end = time.monotonic() + options.seconds
                for run in range(options.runs + 1):
                    if time.monotonic() > end:
                        break
                    found.append({})
                    for is_on in (run % 2 == 0, run % 2 == 1):
                        server.call("PUT", "workspaces/many", workspace, below="lab/api")
                        disabled = {"disabledExtensions": {"sshpyk": not is_on}}
                        config.write_text(json.dumps(disabled))
                        chips = options.notebooks if is_on else 0
                        found[-1][is_on] = load(browser, server, options.notebooks, chips)
    show(found[1:], options.notebooks)


def show(pairs: list[dict[bool, float]], count: int) -> None:
    """Print the medians, and the differences of the pairs."""
    if not pairs:
        print("there was no time for a pair that counts")
        return
    ours = statistics.median(pair[True] for pair in pairs)
    without = statistics.median(pair[False] for pair in pairs)
    differences = sorted(1000 * (pair[True] - pair[False]) for pair in pairs)
    print(f"{count} notebooks, {len(pairs)} pairs: {ours:.2f} s with it, {without:.2f} s without")
    print(f"difference of a pair: median {statistics.median(differences):.0f} ms")
    print(f"from {differences[0]:.0f} to {differences[-1]:.0f} ms")


if __name__ == "__main__":
    main()
