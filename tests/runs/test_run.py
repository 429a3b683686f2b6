"""`sshpyk run`: notebooks and scripts that a host executes by itself."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from sshpyk.cli import main
from tests.cli.conftest import Call, sshpyk
from tests.lab.kernels import PATIENCE, write_spec
from tests.lab.sshd import Sshd
from tests.lab.terminal import Terminal

__all__ = ["sshpyk"]

pytestmark = pytest.mark.sshd


def write(path: Path, *sources: str, tags: dict[int, str] | None = None) -> Path:
    """Write a notebook of these cells; `tags` are those of cells by their place."""
    cells: list[dict[str, Any]] = []
    for number, source in enumerate(sources):
        tagged = {"tags": [tags[number]]} if tags and number in tags else {}
        cell = {"cell_type": "code", "metadata": tagged, "source": source, "outputs": []}
        cells.append({**cell, "execution_count": None})
    cells.insert(0, {"cell_type": "markdown", "metadata": {}, "source": "# text"})
    notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}
    path.write_text(json.dumps(notebook))
    return path


def outputs(path: Path) -> list[Any]:
    """What each code cell of a notebook has brought: its text, or the name of what it raised."""
    cells = json.loads(path.read_text())["cells"]
    return [
        [
            "".join(o.get("text", o.get("ename", ""))) or o["data"]["text/plain"]
            for o in c["outputs"]
        ]
        for c in cells
        if c["cell_type"] == "code"
    ]


def rows(sshpyk: Call, *words: str) -> list[dict[str, Any]]:
    """The kernels that `sshpyk ps` shows."""
    result = sshpyk("ps", "--json", *words)
    assert result.status == 0, result.err
    found: list[dict[str, Any]] = result.json
    return found


def own_runtime() -> Path:
    """Where this test's persistence files are."""
    return Path(os.environ["JUPYTER_RUNTIME_DIR"])


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so that nothing tells of."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_notebook(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    path = write(tmp_path / "a notebook.ipynb", "x = 6\nprint('one')", "x * 7")
    result = sshpyk("run", str(path), "--on", "remote")
    assert result.status == 0, result.err
    assert outputs(path) == [["one\n"], ["42"]]


def test_parameters(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    path = write(tmp_path / "in.ipynb", "x = y = z = 1", "[x, y, z]", tags={0: "parameters"})
    before, done = path.read_text(), tmp_path / "out.ipynb"
    words = ("-p", "x", "1e3", "-p", "y", "None", "-r", "z", "007", "-p", "w", "1")
    result = sshpyk("run", str(path), "--on", "remote", *words, "-o", str(done), "--json")
    assert result.status == 0, result.err
    assert "has no w" in result.err
    assert outputs(done) == [[], [], ["[1000.0, None, '007']"]]
    tags = [cell["metadata"].get("tags") for cell in json.loads(done.read_text())["cells"]]
    assert tags == [None, ["parameters"], ["injected-parameters"], None]
    assert path.read_text() == before
    assert result.json["version"] == 1
    assert (result.json["status"], result.json["ran"], result.json["cells"]) == ("ok", 3, 3)
    # Once more, with the executed one: the injected cell is replaced.
    again = sshpyk("run", str(done), "--on", "remote", "-p", "x", "2")
    assert again.status == 0, again.err
    assert outputs(done) == [[], [], ["[2, 1, 1]"]]
    nbformat.validate(json.loads(done.read_text()))


def test_a_cell_that_raises(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    sources = ("skipped = 1", "print('one')", "[][1]", "print('two')\n1/0", "print('never')")
    tags = {0: "skip-execution", 2: "raises-exception"}
    path = write(tmp_path / "raises.ipynb", *sources, tags=tags)
    result = sshpyk("run", str(path), "--on", "remote")
    assert result.status == 1
    assert "----> 2 1/0" in result.err
    assert result.err.strip().endswith(
        "cell 3 of 4 raised ZeroDivisionError: division by zero. 1 cell did not run."
    )
    ran = [["one\n"], ["IndexError"], ["two\n", "ZeroDivisionError"]]
    assert outputs(path) == [[], *ran, []]
    assert rows(sshpyk) == []  # the kernel has ended


def test_bad_input(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    """None of these starts anything or changes a file."""
    write_spec("remote", sshd)
    path = write(tmp_path / "good.ipynb", "1")
    (tmp_path / "bad.ipynb").write_text("{}")
    (tmp_path / "script.py").write_text("1")
    before = path.read_text()
    good, bad, script = str(path), str(tmp_path / "bad.ipynb"), str(tmp_path / "script.py")
    for words, said in (
        ((good, "--on", "nobody"), "There is no kernel 'nobody' on this machine"),
        ((str(tmp_path / "none.ipynb"), "--on", "remote"), "can't be read: No such file"),
        ((bad, "--on", "remote"), "not a notebook of format 4"),
        ((good, "--on", "remote", "-o", str(tmp_path / "no/x.ipynb")), "can't be written"),
        ((good, "--on", "remote", "-p", "a b", "1"), "'a b' can't be the name of a parameter"),
        ((good, "--on", "remote", "--", "word"), "is a notebook, which takes parameters"),
        ((script, "--on", "remote", "-p", "a", "1"), "is a script, which takes words"),
        ((good, "--on", "remote", "--sync", str(tmp_path / "no")), "it is no directory"),
        ((good,), "required: --on"),
    ):
        result = sshpyk("run", *words)
        assert result.status == 2, words
        assert said in " ".join(result.err.split()), words
    assert path.read_text() == before
    assert rows(sshpyk) == []


def test_a_script(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    path = tmp_path / "script.py"
    path.write_text("# %% a cell\nimport sys\nprint(sys.argv)\nprint('beside', file=sys.stderr)\n")
    result = sshpyk("run", str(path), "--on", "remote", "--", "-x", "two words")
    assert result.status == 0, result.err
    assert result.out == "['script.py', '-x', 'two words']\n"
    assert result.err == "beside\n"
    path.write_text("print('first')\nraise SystemExit(3)\n")
    assert sshpyk("run", str(path), "--on", "remote").status == 1
    path.write_text("print('first')\nraise SystemExit\n")
    result = sshpyk("run", str(path), "--on", "remote")
    assert (result.status, result.out, result.err) == (0, "first\n", "")  # and no advice to quit


def test_files_come_along(
    sshd: Sshd,
    sshpyk: Call,
    tmp_path: Path,
    remote_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What lies beside the notebook is on the host before, and what is there already is not sent
    again."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write_spec("remote", sshd)
    project = tmp_path / "a project"
    (project / "package" / "__pycache__").mkdir(parents=True)
    (project / "package" / "__init__.py").write_text("value = 42")
    (project / "package" / "__pycache__" / "left out").touch()
    (project / "link").symlink_to("package")
    path = write(project / "n.ipynb", "import os, package\nprint(os.getcwd(), package.value)")
    words = ("run", str(path), "--on", "remote", "--sync", str(project))
    first = sshpyk(*words)
    assert first.status == 0, first.err
    there = remote_home / "a project"
    assert outputs(path) == [[f"{there} 42\n"]]
    assert "3 files" in first.err
    assert sorted(os.listdir(there / "package")) == ["__init__.py", "__pycache__"]
    assert os.readlink(there / "link") == "package"
    assert not (there / "package" / "__pycache__" / "left out").exists()
    second = sshpyk(*words)  # of which the notebook alone has changed
    assert second.status == 0, second.err
    assert "1 files" in second.err


def test_detached(
    sshd: Sshd, sshpyk: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host goes on by itself, keeps more than the agent's `outputs_limit`, and ends the kernel.
    Another machine of the user's needs only the persistence file."""
    write_spec("remote", sshd)
    gate = tmp_path / "gate"
    wait = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.02)"
    much = "for n in range(2000): print(n, 'x' * 10_000)"
    path = write(tmp_path / "n.ipynb", "print('one')", wait, much, "print('last')")
    result = sshpyk("run", str(path), "--on", "remote", "--detach", "--json")
    assert result.status == 0, result.err
    assert result.json["status"] == "detached"
    (row,) = rows(sshpyk)
    assert row["id"] == result.json["kernel"]
    (file,) = (own_runtime() / name for name in os.listdir(own_runtime()) if "sshpyk-" in name)
    saved = tmp_path / "saved.json"
    shutil.copy2(file, saved)
    run = result.json["run"][:8]
    eventually(lambda: "1 of 4 cells" in sshpyk("collect", run, str(path)).out)
    assert outputs(path) == [["one\n"], [], [], []]
    # Another machine, where nothing is known: not even the kernelspec, or the notebook.
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "other"))
    gate.touch()
    done = tmp_path / "elsewhere.ipynb"
    eventually(lambda: rows(sshpyk, "--ssh-config", str(sshd.ssh_config), sshd.host) == [])
    collected = sshpyk("collect", str(saved), str(done))
    assert collected.status == 0, collected.err
    one, two, three, last = outputs(done)
    assert (one, two, last) == (["one\n"], [], ["last\n"])
    (text,) = three
    assert [line.split()[0] for line in text.splitlines()] == list(map(str, range(2000)))
    assert len(text) > 20_000_000


def test_a_disk_that_is_full(sshd: Sshd, tmp_path: Path) -> None:
    """The notebook stays as it was saved last, the run goes on to its end, and nothing is lost."""
    write_spec("remote", sshd)
    path = tmp_path / "n.ipynb"
    saved = f"'one\\\\n' in open({str(path)!r}).read()"
    large = f"import time\nwhile not {saved}: time.sleep(0.05)\nprint('x' * 200_000)"
    write(path, "print('one')", large, "print('last')")
    command = (sys.executable, "-m", "sshpyk.cli", "run", str(path), "--on", "remote")
    limit = (100_000, 100_000)
    done = subprocess.run(
        command,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "File too large" in done.stderr
    assert outputs(path) == [["one\n"], [], []]
    assert [name for name in os.listdir(tmp_path) if name.startswith(".sshpyk")] == []
    words = shlex.split(done.stderr.strip().splitlines()[-1])
    assert words[:2] == ["sshpyk", "collect"]
    assert main(words[1:]) == 0
    assert outputs(path) == [["one\n"], ["x" * 200_000 + "\n"], ["last\n"]]


def test_200_cells_through_ten_cuts(linked_sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    """Every twentieth cell waits for a cut, and those behind it run while the host is away. The
    next cut waits until they have come."""
    link = linked_sshd.link
    assert link is not None
    write_spec("remote", linked_sshd)
    cut = tmp_path / "cut"
    wait = f"import os, time\nwhile not os.path.exists('{cut}{{}}'): time.sleep(0.01)\n"
    sources = [f"print({n})" for n in range(200)]
    for n in range(10, 200, 20):
        sources[n] = wait.format(n) + sources[n]
    path = write(tmp_path / "n.ipynb", *sources)
    cuts: list[int] = []

    def cut_ten_times() -> None:
        for n in range(10, 200, 20):
            eventually(lambda: count_ran(path) == n)  # noqa: B023  # it is called at once
            cuts.append(link.cut())
            Path(f"{cut}{n}").touch()

    cutting = threading.Thread(target=cut_ten_times)
    cutting.start()
    result = sshpyk("run", str(path), "--on", "remote")
    cutting.join()
    assert result.status == 0, result.err
    assert outputs(path) == [[f"{n}\n"] for n in range(200)]
    assert len(cuts) == 10
    assert 0 not in cuts


def count_ran(path: Path) -> int:
    """How many cells of a notebook have outputs."""
    return sum(map(bool, outputs(path)))


def test_interrupt_and_leave(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    wait = "print('begun', flush=True)\nimport time\ntime.sleep(100)"
    # The second comes soon after a save, and nothing after it.
    more = wait.replace("(100)", "(0.3)\nprint('more', flush=True)\ntime.sleep(100)")
    path = write(tmp_path / "n.ipynb", more, "print('never')")
    argv = [sys.executable, "-m", "sshpyk.cli", "run", str(path), "--on", "remote"]
    with Terminal(argv) as terminal:
        terminal.expect("0/2")
        eventually(lambda: outputs(path) == [["begun\nmore\n"], []])
        assert [row["busy"] for row in rows(sshpyk)] == [True]
        terminal.press("\x03")
        terminal.expect("cell 1 of 2 raised KeyboardInterrupt")
        assert terminal.end() == 1
    assert outputs(path) == [["begun\nmore\n", "KeyboardInterrupt"], []]
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + wait
    path = write(tmp_path / "stubborn.ipynb", stubborn)
    with Terminal([*argv[:4], str(path), *argv[5:]]) as terminal:
        eventually(lambda: outputs(path) == [["begun\n"]])
        terminal.press("\x03")
        terminal.expect("again")
        terminal.press("\x03")
        terminal.expect("sshpyk collect ")
        assert terminal.end() == 130
    (row,) = rows(sshpyk)
    assert row["state"] == "detached"
    assert sshpyk("stop", row["id"]).status == 0
    assert "the kernel ended" in sshpyk("collect", row["id"], str(path)).err


def test_in_a_kernel_that_runs(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    """It stays, with what the notebook has made; one that dies is told."""
    write_spec("remote", sshd, session="work")
    path = write(tmp_path / "n.ipynb", "x = 42")
    assert sshpyk("run", str(path), "--on", "remote").status == 0
    path = write(
        tmp_path / "m.ipynb", "print(x)", "import os, signal\nos.kill(os.getpid(), 9)", "1"
    )
    result = sshpyk("run", str(path), "--on", "work")
    assert result.status == 3
    assert "after 1 of 3 cells on sshd: the kernel ended (killed (signal 9)" in result.err
    assert outputs(path) == [["42\n"], [], []]
    assert rows(sshpyk) == []
