"""How long JupyterLab's page takes to load with many notebooks, with our front end and without it.

    python -m benchmarks.pages [--notebooks N] [--runs N] [--seconds S]

A real Chromium opens a workspace whose notebooks share one remote kernel: with our extension, and
with it disabled, in turn. What is timed ends when all notebooks have their toolbars, and with ours
all chips. No pair is begun after S seconds. Of each page are told

- the wall time, whose differences are noise on any but a very quiet machine;
- the processor time of the main thread (Chrome's TaskDuration), and of it that of scripts: all of
  the page's work, and none of its waiting;
- with ours, what is certainly ours: the time in which one of our functions was on the stack, until
  then and after it, from a profile of its own run (profiling itself slows a page), what was loaded,
  and how much of that Lab waited for before it began.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.lab import chromium, write_notebook
from tests.jupyter.server import Server
from tests.lab.kernels import write_spec
from tests.lab.sshd import Sshd

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Pages that are loaded with a profile.
PROFILES = 3

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


@dataclass
class Load:
    """How a page was loaded; times in seconds."""

    wall: float
    task: float = 0.0
    script: float = 0.0
    ours: float = 0.0
    later: float = 0.0
    waited: float = 0.0
    files: int = 0


#: Resolves when the main thread has been free for a second, or after ten: so all pages are compared
#: when they are done, and what Lab itself has put off is in none or in all.
SETTLED = """
() => new Promise(done => {
  const end = performance.now() + 10000;
  let calm = 0;
  const look = began => {
    const now = performance.now();
    calm = now - began < 70 ? calm + 1 : 0;
    calm === 20 || now > end ? done() : setTimeout(look, 50, now);
  };
  setTimeout(look, 50, performance.now());
})
"""

#: Of our files: how many were loaded, and the milliseconds that Lab waited for them: from the
#: end of the first, which Lab loads itself, to that of the last before it activates plugins.
FILES = """
() => {
  const loaded = performance.getEntriesByType('resource');
  const all = loaded.filter(r => r.name.includes('/sshpyk/static/'));
  const began = performance.getEntriesByName('sshpyk:activate')[0]?.startTime ?? Infinity;
  const before = all.filter(r => r.responseEnd < began && r.name.includes('.js'));
  const ends = before.map(r => r.responseEnd);
  return {files: all.length, waited: ends.length ? Math.max(...ends) - Math.min(...ends) : 0};
}
"""


def our_share(profile: dict[str, Any]) -> float:
    """The seconds in which a function of ours was on the stack, of a CPU profile of V8's."""
    nodes = {node["id"]: node for node in profile["nodes"]}
    ours: set[int] = set()

    def walk(node: dict[str, Any], inside: bool) -> None:
        inside = inside or "/sshpyk/static/" in node["callFrame"]["url"]
        if inside:
            ours.add(node["id"])
        for child in node.get("children", ()):
            walk(nodes[child], inside)

    walk(profile["nodes"][0], False)
    times = zip(profile["samples"], profile["timeDeltas"], strict=True)
    return float(sum(delta for sample, delta in times if sample in ours)) / 1e6


def load(browser: Browser, server: Server, count: int, chips: int, *, profiled: bool) -> Load:
    """Load the page; `chips` of ours must then be there, or come."""
    context = browser.new_context()
    try:
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        chrome = context.new_cdp_session(page)
        chrome.send("Performance.enable", {"timeDomain": "threadTicks"})
        if profiled:
            chrome.send("Profiler.enable")
            chrome.send("Profiler.setSamplingInterval", {"interval": 200})  # microseconds
            chrome.send("Profiler.start")
        began = time.monotonic()
        page.goto(server.url("lab/workspaces/many"), wait_until="commit")
        page.wait_for_function(READY, arg=count, polling=10)
        found = Load(time.monotonic() - began)
        if profiled:
            found.ours = our_share(chrome.send("Profiler.stop")["profile"])
            chrome.send("Profiler.start")
        arrived = "count => document.querySelectorAll('.sshpyk-chip').length == count"
        page.wait_for_function(arrived, arg=chips)
        page.evaluate(SETTLED)
        metrics = {m["name"]: m["value"] for m in chrome.send("Performance.getMetrics")["metrics"]}
        found.task, found.script = metrics["TaskDuration"], metrics["ScriptDuration"]
        if profiled:
            found.later = our_share(chrome.send("Profiler.stop")["profile"])
        files = page.evaluate(FILES)
        found.files, found.waited = files["files"], files["waited"] / 1000
        return found
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
        found: list[dict[bool, Load]] = []
        profiles: list[Load] = []
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
                        found[-1][is_on] = load(
                            browser, server, options.notebooks, chips, profiled=False
                        )
                config.write_text("{}")
                for _ in range(PROFILES):
                    server.call("PUT", "workspaces/many", workspace, below="lab/api")
                    count = options.notebooks
                    profiles.append(load(browser, server, count, count, profiled=True))
    show(found[1:], profiles, options.notebooks)


def show(pairs: list[dict[bool, Load]], profiles: list[Load], count: int) -> None:
    """Print the medians, and the differences of the pairs."""
    print(f"{count} notebooks, {len(pairs)} pairs")
    for name in ("wall", "task", "script") if pairs else ():
        ours = statistics.median(getattr(pair[True], name) for pair in pairs)
        without = statistics.median(getattr(pair[False], name) for pair in pairs)
        differences = sorted(
            1000 * (getattr(pair[True], name) - getattr(pair[False], name)) for pair in pairs
        )
        print(
            f"{name + ':':8}{ours:6.2f} s with it, {without:6.2f} s without; differences: median "
            f"{statistics.median(differences):.0f} ms, from {differences[0]:.0f} to "
            f"{differences[-1]:.0f}"
        )
    shares = ", ".join(f"{1000 * p.ours:.0f} and {1000 * p.later:.0f} ms" for p in profiles)
    print(f"in our functions, until then and after it: {shares}")
    waits = ", ".join(f"{1000 * one.waited:.0f} ms" for one in profiles)
    print(f"{profiles[0].files} files of ours; Lab waited for those after the first: {waits}")


if __name__ == "__main__":
    main()
