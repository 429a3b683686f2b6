"""What runs on hosts: ps, attach, interrupt, stop, logs, collect; sessions; output while away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import AsyncKernelManager, KernelManager
from traitlets.config import Config

from sshpyk.cli import missed
from sshpyk.cli.kernels import state_of
from sshpyk.jupyter.persistence import default_path
from tests.cli.conftest import Call
from tests.lab.kernels import PATIENCE, STATE, left_behind, link_of, run_code, started, write_spec
from tests.lab.sshd import Sshd
from tests.lab.terminal import CTRL_C, Terminal

pytestmark = pytest.mark.sshd

#: Prints a number and waits for the next to be wanted: `path` counts what is wanted.
COUNT = """
import os, time
number = 0
while not os.path.exists({path!r}):
    print("line", number, flush=True)
    number += 1
    time.sleep(0.02)
print("the end")
"""


@pytest.fixture(autouse=True)
def nothing_left(sshd: Sshd, remote_home: Path, sshpyk: Call) -> Iterator[None]:
    """Each test ends what it began."""
    yield
    if [name for name in left_behind(remote_home) if "." not in name]:
        assert sshpyk("stop", "--all").status == 0


def eventually(condition: Callable[[], Any]) -> Any:
    """What `condition` returns once it is true; of a process elsewhere."""
    deadline = time.monotonic() + PATIENCE / 3
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def leave(manager: KernelManager) -> str:
    """Leave a kernel; its id."""
    provisioner: Any = manager.provisioner
    provisioner.persistent = True
    id = link_of(manager).agent.id
    manager.shutdown_kernel()
    return id


@contextlib.contextmanager
def left(name: str, code: str = "", wait: str = "line 3") -> Iterator[str]:
    """The id of a kernel that was left, running `code`, once that has printed `wait`."""
    with started(name) as (manager, client):
        if code:
            client.execute(code)
            said = ""
            while wait not in said:
                message = client.get_iopub_msg(timeout=PATIENCE)
                if message["msg_type"] == "stream":
                    said += message["content"]["text"]
        id = leave(manager)
    yield id


def rows(sshpyk: Call, *words: str) -> list[dict[str, Any]]:
    result = sshpyk("ps", "--json", *words)
    assert result.status == 0, result.err
    found: list[dict[str, Any]] = result.json
    return found


def test_ps_tells_all_of_a_kernel(sshd: Sshd, sshpyk: Call) -> None:
    write_spec("remote", sshd, lease=100)
    assert sshpyk("ps").err.strip() == "No kernels of yours run there."
    with started("remote") as (manager, client):
        run_code(client, "pass")
        (row,) = rows(sshpyk)
        assert (row["state"], row["host"], row["kernelspec"]) == ("attached", "sshd", "python3")
        assert row["id"] == link_of(manager).agent.id
        assert row["busy"] is False
        assert abs(row["started"] - time.time()) < PATIENCE
        assert row["memory"] > 10e6
        assert row["lease_left"] is None
        os.kill(row["pid"], 0)
        client.execute("import time; time.sleep(100)")
        eventually(lambda: rows(sshpyk)[0]["busy"])
        shown = sshpyk("ps", "sshd").out.splitlines()
        assert re.match(rf"{row['id'][:8]} .*sshd +python3 +attached +busy since", shown[1])
        assert row["persistent"] is False
        leave(manager)
    (row,) = rows(sshpyk)
    assert (row["state"], row["busy"]) == ("detached", True)


def test_ps_of_a_host_that_can_not_be_reached(sshd: Sshd, sshpyk: Call) -> None:
    write_spec("remote", sshd)
    result = sshpyk("ps", "nowhere.invalid", "sshd")
    assert result.status == 1
    assert "nowhere.invalid" in result.err


def test_stop(sshd: Sshd, sshpyk: Call, remote_home: Path) -> None:
    write_spec("remote", sshd)
    with (
        left("remote") as one,
        left("remote") as two,
        left("remote", COUNT.format(path="/nothing")) as three,
    ):
        assert sshpyk("stop", "nothing-there").status == 1
        assert sshpyk("stop").status == 2
        result = sshpyk("stop", one[:8])
        assert (result.status, result.out) == (0, f"{one[:8]} on sshd: stopped\n")
        assert {row["id"] for row in rows(sshpyk)} == {two, three}
        assert "nothing to stop" in sshpyk("stop", "--lost", "--host", "sshd").out
        assert sshpyk("stop", "--all").status == 0
        assert rows(sshpyk) == []
        assert {one, two, three} <= {row["id"] for row in rows(sshpyk, "--all")}
        assert "is gone" in sshpyk("stop", one[:8]).err
    assert [name for name in left_behind(remote_home) if "." not in name] == []


def test_stop_by_file(sshd: Sshd, sshpyk: Call) -> None:
    write_spec("remote", sshd)
    with left("remote") as id:
        file = Path(os.environ["JUPYTER_RUNTIME_DIR"]) / f"sshpyk-kernel-{id}.json"
        assert sshpyk("stop", str(file)).status == 0
        assert not file.exists()


@pytest.mark.parametrize("mode", ["signal", "message"])
def test_interrupt(sshpyk: Call, tmp_path: Path, mode: str) -> None:
    python = sys.executable
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "interrupt_mode": mode, "language": "python"}
    here = tmp_path / "data" / "kernels" / "moded"
    here.mkdir(parents=True)
    (here / "kernel.json").write_text(json.dumps({**spec, "display_name": mode}))
    with Sshd(home=tmp_path, environment={"JUPYTER_PATH": str(tmp_path / "data")}) as server:
        write_spec("remote", server, remote_kernel_name="moded")
        code = COUNT.format(path=str(tmp_path / "enough"))
        code = code.replace(", flush=True", "")  # in which ipykernel may lose an interrupt
        with left("remote", code) as id:
            assert rows(sshpyk)[0]["busy"] is True
            result = sshpyk("interrupt", id[:6])
            assert (result.status, result.out) == (0, f"{id[:8]} on sshd: interrupted\n")
            eventually(lambda: rows(sshpyk)[0]["busy"] is False)
            assert "KeyboardInterrupt" in sshpyk("logs", "--outputs", id).out
            assert sshpyk("stop", id).status == 0


def test_logs(sshd: Sshd, sshpyk: Call) -> None:
    write_spec("remote", sshd)
    code = "import os; os.write(2, b'to stderr\\n'); os.write(1, b'to stdout\\n'); print('line 3')"
    with left("remote", code) as id:
        said = sshpyk("logs", id[:8]).out
        assert "to stderr" in said
        assert "to stdout" in said
        assert "= launched kernel" in said
        assert "launched" not in sshpyk("logs", "--kernel", id).out
        assert "stderr" not in sshpyk("logs", "--agent", id).out
        assert sshpyk("stop", id).status == 0
        assert "to stderr" in sshpyk("logs", "--kernel", id).out  # it is kept for a while


def test_following_the_log(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    enough = tmp_path / "enough"
    with left("remote", COUNT.format(path=str(enough))) as id:
        argv = [sys.executable, "-m", "sshpyk.cli", "logs", "--outputs", "--follow", id]
        with Terminal(argv) as terminal:
            numbers = [int(terminal.match(r"line (\d+)\n").group(1)) for _ in range(20)]
            assert numbers == list(range(numbers[0], numbers[0] + 20))
            enough.touch()
            terminal.expect("the end")
            assert sshpyk("stop", id).status == 0
            assert terminal.end() == 0


# -- output while away -------------------------------------------------------------------------


def numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"^line (\d+)$", text, re.MULTILINE)]


def test_missed_output_is_whole_and_in_order(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    enough = tmp_path / "enough"
    seen = ""
    with started("remote") as (manager, client):
        client.execute(COUNT.format(path=str(enough)))
        while "line 20" not in seen:
            message = client.get_iopub_msg(timeout=PATIENCE)
            if message["msg_type"] == "stream":
                seen += message["content"]["text"]
        id = leave(manager)
    eventually(lambda: "line 80" in sshpyk("logs", "--outputs", id).out)
    enough.touch()
    eventually(lambda: "the end" in sshpyk("logs", "--outputs", id).out)
    away = sshpyk("logs", "--outputs", id).out
    assert "number += 1" in away  # the cell that makes it
    numbers = numbers_in(away)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[0] <= numbers_in(seen)[-1] + 1
    # What a client sees itself is not missed.
    assert rows(sshpyk)[0]["state"] == "detached"


def test_an_outage_misses_nothing_and_keeps_nothing(
    linked_sshd: Sshd, sshpyk: Call, tmp_path: Path
) -> None:
    link = linked_sshd.link
    assert link is not None
    write_spec("remote", linked_sshd)
    with started("remote") as (manager, client):
        code = COUNT.format(path=str(tmp_path / "enough"))
        client.execute(code)
        while "line 3" not in str(client.get_iopub_msg(timeout=PATIENCE)["content"]):
            pass
        link.refuse()
        link.cut()
        time.sleep(0.3)  # what is tested is that output of this time comes once
        link.accept()
        (tmp_path / "enough").touch()
        while "the end" not in str(client.get_iopub_msg(timeout=PATIENCE)["content"]):
            pass
        id = link_of(manager).agent.id
        assert sshpyk("logs", "--outputs", id).out == ""


def test_output_is_kept_until_somebody_listens(
    sshd: Sshd, remote_home: Path, tmp_path: Path
) -> None:
    """Who is attached and has no client on iopub yet, as a console that has yet to begin."""
    write_spec("remote", sshd)
    enough = tmp_path / "enough"
    with left("remote", COUNT.format(path=str(enough))) as id:
        config = Config()
        config.SSHKernelProvisioner.existing = default_path(id)
        manager = KernelManager(kernel_name="remote", config=config)
        manager.start_kernel()
        outputs = remote_home / STATE / id / "outputs.jsonl"
        size = outputs.stat().st_size
        # Longer than it would take for listening to count: two seconds of lines, and more.
        eventually(lambda: outputs.stat().st_size > size + 100 * 600)
        assert '"mark": "back"' not in outputs.read_text()
        client = manager.client()
        client.start_channels()
        eventually(lambda: '"mark": "back"' in outputs.read_text())
        client.stop_channels()
        enough.touch()
        manager.shutdown_kernel()
        manager.context.destroy(linger=100)


def test_attach_shows_what_was_missed_then_the_console(
    sshd: Sshd, sshpyk: Call, tmp_path: Path
) -> None:
    write_spec("remote", sshd)
    with left("remote", COUNT.format(path=str(tmp_path / "enough"))) as id:
        eventually(lambda: "line 30" in sshpyk("logs", "--outputs", id).out)
        env = {"JUPYTER_CONSOLE_TEST": "1", "TERM": "dumb"}
        with Terminal([sys.executable, "-m", "sshpyk.cli", "attach", id[:8]], env) as terminal:
            first = int(terminal.match(r"line (\d+)\n").group(1))
            terminal.match(f"line {first + 1}\n")
            terminal.match("line 30\n")
            terminal.expect("kernel is busy")
            later = int(terminal.match(r"line (\d+)\n").group(1))  # the job goes on
            terminal.match(f"line {later + 1}\n")
            (tmp_path / "enough").touch()
            terminal.expect("the end")
            terminal.expect("Jupyter console")
            terminal.match(r"In \[\d+\]:")
            terminal.press("print('number', number > 30)\r")
            terminal.expect("number True")
            terminal.press("import time; print('be' 'gun'); time.sleep(100)\r")
            terminal.expect("begun")
            terminal.press(CTRL_C)
            terminal.expect("KeyboardInterrupt")
            terminal.press("exit(keep_kernel=True)\r")
            terminal.expect("The kernel goes on")
            assert terminal.end() == 0
        assert rows(sshpyk)[0]["state"] == "detached"


def test_attach_without_a_console(sshd: Sshd, sshpyk: Call) -> None:
    write_spec("remote", sshd)
    with left("remote", "print('line 3'); kept = 1") as id:
        argv = [sys.executable, "-m", "sshpyk.cli", "attach", "--no-console", id[:8]]
        with Terminal(argv) as terminal:
            terminal.expect("jupyter console --existing")
            terminal.hang_up()
            terminal.end()
        assert rows(sshpyk)[0]["state"] == "detached"


def test_collect(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    code = "import time\nprint('line 3', flush=True)\ntime.sleep(1)\nprint('more')\n6 * 7"
    other = "print('another')"
    path = tmp_path / "a notebook.ipynb"
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# text"]},
        {
            "cell_type": "code",
            "metadata": {},
            "execution_count": None,
            "source": code.splitlines(keepends=True),
            "outputs": [{"output_type": "stream", "name": "stdout", "text": ["line 3\n"]}],
        },
    ]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    path.write_text(json.dumps(content))
    with started("remote") as (manager, client):
        client.execute(code)
        client.execute(other)
        while "line 3" not in str(client.get_iopub_msg(timeout=PATIENCE)["content"]):
            pass
        time.sleep(0.3)  # beyond the margin within which output may come twice
        id = leave(manager)
    eventually(lambda: "another\n" in sshpyk("logs", "--outputs", id).out)
    before = path.read_text()
    result = sshpyk("collect", id[:8], str(path))
    assert result.status == 0, result.err
    assert "print('another')" in result.err
    copy = Path(result.out.strip().rpartition("As it was: ")[2])
    assert copy.read_text() == before
    outputs = json.loads(path.read_text())["cells"][1]["outputs"]
    assert outputs[0]["text"] == "line 3\nmore\n"
    assert outputs[1]["data"]["text/plain"] == "42"
    assert "nothing new" in sshpyk("collect", id[:8], str(path)).out
    import nbformat

    nbformat.validate(json.loads(path.read_text()))
    assert sshpyk("collect", id[:8], str(tmp_path / "none.ipynb")).status == 2


#: Prints `count` numbered lines of 10 kB, each as one message, once everybody has left: `path`
#: is there then.
MUCH = """
import os, time
print("line 3", flush=True)
while not os.path.exists({path!r}):
    time.sleep(0.02)
for number in range({count}):
    print("line", number, "x" * 10_000, flush=True)
print("the end", flush=True)
"""


def test_more_output_than_16_mb_is_read(sshd: Sshd, sshpyk: Call, tmp_path: Path) -> None:
    count = 2000
    write_spec("remote", sshd, outputs_limit=100_000_000)
    has_left = tmp_path / "left"
    code = MUCH.format(count=count, path=str(has_left))
    with left("remote", code) as id:
        eventually(lambda: rows(sshpyk)[0]["state"] == "detached")
        has_left.touch()
        eventually(lambda: rows(sshpyk)[0]["busy"] is False)
        result = sshpyk("logs", "--outputs", id)
        assert result.status == 0, result.err
        assert len(result.out) > 16 * 1024 * 1024
        found = [int(number) for number in re.findall(r"^line (\d+) x{10000}$", result.out, re.M)]
        assert found == list(range(count))
        assert result.out.endswith("the end\n")
        path = tmp_path / "notebook.ipynb"
        cell = {"cell_type": "code", "metadata": {}, "source": code, "outputs": []}
        path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}))
        collected = sshpyk("collect", id, str(path))
        assert collected.status == 0, collected.err
        (output,) = json.loads(path.read_text())["cells"][0]["outputs"]
        assert output["text"].count("\nline ") == count
        argv = [sys.executable, "-m", "sshpyk.cli", "attach", "--no-console", id]
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdout=pipe, stderr=subprocess.STDOUT, text=True) as attached:
            assert attached.stdout is not None
            lines = []
            for line in attached.stdout:
                lines.append(line)
                if "jupyter console --existing" in line:
                    break
            attached.send_signal(signal.SIGHUP)
        shown = [int(number) for number in re.findall(r"^line (\d+) x+$", "".join(lines), re.M)]
        assert shown == list(range(count))


@pytest.mark.parametrize(
    ("kernel", "status", "state"),
    [
        ({}, None, "unknown"),
        ({"exited": {}}, {"attached": 1}, "exited"),
        ({"exited": None}, {"attached": 2}, "attached"),
        ({}, {"attached": 0, "parted": {"state": "lost"}}, "lost"),
        ({}, {"attached": 0, "parted": None}, "unknown"),
        ({}, {"attached": 0}, "unknown"),
    ],
)
def test_the_state_that_a_host_tells_of(
    kernel: dict[str, Any], status: dict[str, Any] | None, state: str
) -> None:
    """All of these answers pass the check of shapes."""
    assert state_of({"kernel": kernel, "status": status}) == state


def test_the_reader_takes_any_pieces() -> None:
    mark = b'{"at": 1, "mark": "%s"}\n'
    line = b'{"at": %d, "header": {"msg_type": "x"}, "parent": {}, "content": {"a": "b"}}\n'
    away, resumed = mark % b"away", mark % b"resumed"
    data = away + line % 1 + mark % b"back" + b"cut {\n"
    data += away + line % 2 + resumed + away + line % 3
    for size in (1, 7, 64, len(data)):
        reader = missed.Reader()
        for start in range(0, len(data), size):
            reader.feed(data[start : start + size])
        assert [entry.get("mark", entry["at"]) for entry in reader.lines] == [
            *("away", 1, "back"),
            *("away", 3),
        ]
        assert reader.size == len(data)


def test_what_can_not_be_read_is_left_out() -> None:
    lines = [b"", b"{", b"[]", b'{"at": "x"}', b'{"at": 1, "header": {}}', b"\xff"]
    reader = missed.Reader()
    reader.feed(b"\n".join([*lines, b""]))
    assert reader.pop() == []


# -- sessions ----------------------------------------------------------------------------------


def test_a_session_is_one_kernel(sshd: Sshd, sshpyk: Call) -> None:
    write_spec("remote", sshd, session="work")
    with started("remote") as (_, one):
        run_code(one, "here = 1")
        with started("remote") as (_, two):
            assert run_code(two, "print(here)") == "1\n"
    (row,) = rows(sshpyk)
    assert (row["name"], row["state"], row["persistent"]) == ("work", "detached", True)
    with started("remote") as (manager, client):
        assert run_code(client, "print(here)") == "1\n"
        manager.restart_kernel()
        client.wait_for_ready(timeout=PATIENCE)
        assert run_code(client, "print('here' in globals())") == "False\n"
    assert "work" in sshpyk("stop", "work").out
    with started("remote") as (_, client):
        assert run_code(client, "print('here' in globals())") == "False\n"


def test_a_session_that_is_begun_twice_at_once_is_one(sshd: Sshd, sshpyk: Call) -> None:
    write_spec("remote", sshd, session="work")

    async def begin() -> set[bytes]:
        managers = [AsyncKernelManager(kernel_name="remote") for _ in range(4)]
        await asyncio.gather(*(manager.start_kernel() for manager in managers))
        keys = {manager.session.key for manager in managers}
        for manager in managers:
            await manager.shutdown_kernel()
            manager.context.destroy(linger=100)
        return keys

    assert len(asyncio.run(begin())) == 1
    assert len(rows(sshpyk)) == 1


def test_a_session_whose_kernel_died_begins_anew(sshd: Sshd, sshpyk: Call) -> None:
    write_spec("remote", sshd, session="work")
    with started("remote") as (_, one):
        one.execute("import os; os._exit(3)")
        eventually(lambda: rows(sshpyk)[0]["state"] == "exited")
        with started("remote") as (_, two):
            assert run_code(two, "print(6 * 7)") == "42\n"
