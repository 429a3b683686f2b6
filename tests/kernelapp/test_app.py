"""`sshpyk-kernel` in a real terminal: every signal, key and option."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from sshpyk.common.processes import start_time
from tests.lab.kernels import PATIENCE, client_of, left_behind, run_code, write_spec
from tests.lab.sshd import Sshd
from tests.lab.terminal import CTRL_BACKSLASH, CTRL_C, CTRL_D, Terminal

pytestmark = pytest.mark.sshd

APP = [sys.executable, "-m", "sshpyk.kernelapp"]


@contextlib.contextmanager
def app(*options: str, name: str = "remote", **env: str) -> Iterator[Terminal]:
    """The program with a kernel that runs, in a terminal."""
    kernel = [] if any("existing" in option for option in options) else ["--kernel", name]
    with Terminal([*APP, *kernel, *options], env) as terminal:
        try:
            yield terminal
        except BaseException:
            # The tests share a home: what one that fails leaves there would fail all after it.
            terminal.send(signal.SIGUSR2)
            terminal.end()
            raise


@contextlib.contextmanager
def client_by_file(path: str) -> Iterator[BlockingKernelClient]:
    """A client of a connection file, as any program of others has."""
    client = BlockingKernelClient()
    client.load_connection_file(path)
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield client
    finally:
        client.stop_channels()
        client.context.destroy(linger=100)


def connection_file(terminal: Terminal) -> str:
    return terminal.match(r"jupyter console --existing (\S+)\n").group(1)


def come_back(terminal: Terminal) -> str:
    """The persistence file of the command that the program prints."""
    return terminal.match(r"sshpyk-kernel --persistent --existing (\S+)\s").group(1)


def kernels(home: Path) -> list[str]:
    """What runs, or was not cleaned up."""
    return [name for name in left_behind(home) if "." not in name]


def is_there(path: str) -> bool:
    """Whether the kernel of a persistence file can be come back to; it is ended then."""
    with app("--existing", path) as terminal:
        status = terminal.match(r"runs on|is gone").group()
        if status == "runs on":
            terminal.send(signal.SIGUSR2)
            terminal.expect("has ended")
        terminal.end()
    return status == "runs on"


def test_it_serves_a_kernel_and_says_how_to_connect(sshd: Sshd, remote_home: Path) -> None:
    write_spec("remote", sshd)
    with app() as terminal:
        terminal.expect("python3 runs on sshd")
        file = connection_file(terminal)
        assert os.stat(file).st_mode & 0o777 == 0o600
        with client_by_file(file) as client:
            assert run_code(client, "print(6 * 7)") == "42\n"
        terminal.expect("connected")
        terminal.send(signal.SIGTERM)
        assert terminal.end() == 0
    assert not os.path.exists(file)
    assert kernels(remote_home) == []


#: How it is ended (a signal, keys, or None: the window is closed), with --persistent or not, and
#: whether the kernel goes on.
ENDS = [
    (signal.SIGTERM, False, False),
    (signal.SIGTERM, True, True),
    (signal.SIGHUP, False, False),
    (signal.SIGHUP, True, True),
    (signal.SIGUSR2, True, False),
    (signal.SIGQUIT, False, True),
    (CTRL_BACKSLASH, False, True),
    (CTRL_D + "\n", True, False),
    (CTRL_D + "y\n", False, False),
    (CTRL_D + "l\n", False, True),
    (None, False, False),
    (None, True, True),
]


@pytest.mark.parametrize(("end", "persistent", "goes_on"), ENDS)
def test_every_way_to_end(
    sshd: Sshd,
    remote_home: Path,
    tmp_path: Path,
    end: signal.Signals | str | None,
    persistent: bool,
    goes_on: bool,
) -> None:
    write_spec("remote", sshd)
    file = str(tmp_path / "kept.json")
    options = ["--persistent-file", file] + (["--persistent"] if persistent else [])
    with app(*options) as terminal:
        terminal.expect("D shows a menu")
        if isinstance(end, signal.Signals):
            terminal.send(end)
        elif end is not None:
            terminal.press(end[:1])
            if end[1:]:
                terminal.expect("nothing:")
                terminal.press(end[1:])
        else:
            terminal.hang_up()
        assert terminal.end() == 0
    assert os.path.exists(file) is goes_on
    assert len(kernels(remote_home)) == goes_on
    if goes_on:
        assert is_there(file)
    assert kernels(remote_home) == []


def test_interrupts_and_restarts(sshd: Sshd) -> None:
    write_spec("remote", sshd)
    with app() as terminal:
        file = connection_file(terminal)
        terminal.expect("D shows a menu")
        with client_by_file(file) as client:
            for key in (CTRL_C, signal.SIGINT, "i\n"):
                # ipykernel throws away what comes just after an error, unless it is told not to.
                sleeping = "import time; print('now'); time.sleep(100)"
                request = client.execute(sleeping, stop_on_error=False)
                while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
                    pass
                act(terminal, key)
                assert reply_to(client, request)["ename"] == "KeyboardInterrupt"
            run_code(client, "kept = 1")
            for key in ("r\n", signal.SIGUSR1):
                terminal.forget()
                act(terminal, key)
                # Before that the old kernel would answer that it is ready.
                terminal.expect("starting the kernel again")
                terminal.expect("connected")
                client.wait_for_ready(timeout=PATIENCE)
                assert run_code(client, "print('kept' in globals()); kept = 1") == "False\n"
        for nothing in ("n\n", CTRL_D):
            terminal.press(CTRL_D)
            terminal.expect("nothing:")
            terminal.press(nothing)
        terminal.press(CTRL_D)
        terminal.expect("nothing:")
        terminal.press("\n")
        assert terminal.end() == 0


def act(terminal: Terminal, what: str | signal.Signals) -> None:
    """Send a signal, press a key, or choose from the menu."""
    if isinstance(what, signal.Signals):
        terminal.send(what)
        return
    if len(what) > 1:
        terminal.press(CTRL_D)
        terminal.expect("nothing:")
    terminal.press(what)


def reply_to(client: BlockingKernelClient, request: str) -> dict[str, str]:
    while True:
        reply = client.get_shell_msg(timeout=PATIENCE)
        if reply["parent_header"].get("msg_id") == request:
            content: dict[str, str] = reply["content"]
            return content


@pytest.mark.parametrize(("code", "status"), [("exit()", 0), ("import os; os._exit(3)", 1)])
def test_it_ends_when_the_kernel_does(
    sshd: Sshd, remote_home: Path, code: str, status: int
) -> None:
    write_spec("remote", sshd)
    with app() as terminal:
        with client_by_file(connection_file(terminal)) as client:
            client.execute(code)
        terminal.expect("The kernel has ended")
        assert terminal.end() == status
    assert kernels(remote_home) == []


def test_leave_option_starts_and_leaves(sshd: Sshd) -> None:
    write_spec("remote", sshd)
    with app("--leave") as terminal:
        file = come_back(terminal)
        assert terminal.end() == 0
    assert is_there(file)
    assert not os.path.exists(file)
    said = subprocess.run(
        [*APP, "--existing", file], capture_output=True, text=True, timeout=PATIENCE
    )
    assert said.returncode == 2
    assert "no persistence file" in said.stderr


def test_coming_back_restarts_as_it_was_launched(sshd: Sshd) -> None:
    write_spec("remote", sshd, env={"HERE": "as launched"})
    with app("--leave") as terminal:
        file = come_back(terminal)
        assert terminal.end() == 0
    with app("--existing", file) as terminal:
        with client_by_file(connection_file(terminal)) as client:
            terminal.send(signal.SIGUSR1)
            terminal.expect("Restarting")
            client.wait_for_ready(timeout=PATIENCE)
            assert run_code(client, "import os; print(os.environ['HERE'])") == "as launched\n"
        terminal.send(signal.SIGTERM)
        assert terminal.end() == 0
    assert not os.path.exists(file)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kernel", "nothing-of-the-kind"], "nothing-of-the-kind"),
        ([], "--kernel NAME"),
        (["--kernel", "python3"], "no SSH kernel"),
        (["--kernel", "remote", "--SSHKernelApp.poll_interval=soon"], "soon"),
        (["--kernel", "astray"], "sshd has no /no/such/python that can be run."),
    ],
)
def test_mistakes_are_told(sshd: Sshd, options: list[str], said: str) -> None:
    write_spec("remote", sshd)
    write_spec("astray", sshd, remote_python="/no/such/python")
    ended = subprocess.run([*APP, *options], capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode != 0
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_start_can_be_called_off(linked_sshd: Sshd) -> None:
    assert linked_sshd.link is not None
    write_spec("remote", linked_sshd)
    linked_sshd.link.hole()
    with app() as terminal:
        terminal.expect("starting the kernel")
        terminal.press(CTRL_C)
        terminal.expect("Called off")
        assert terminal.end() == 130
    linked_sshd.link.heal()


def test_the_status_line_says_what_the_link_does(linked_sshd: Sshd) -> None:
    link = linked_sshd.link
    assert link is not None
    write_spec("remote", linked_sshd)
    with app("--ssh-verbose", "v", "--poll-interval", "100") as terminal:
        terminal.expect("connected")
        link.refuse()
        link.cut()
        terminal.match(r"reconnecting since \d\d:\d\d:\d\d")
        link.accept()
        terminal.expect("connected")
        terminal.send(signal.SIGTERM)
        assert terminal.end() == 0


def test_debug_says_more_and_no_secret(sshd: Sshd) -> None:
    write_spec("remote", sshd)
    with app("--debug", "--leave") as terminal:
        assert terminal.end() == 0
        said = terminal.text
        file = come_back(terminal)
    assert "> leave" in said
    saved = json.loads(Path(file).read_text())
    assert saved["keys"]["key"] not in said
    assert saved["agent"]["token"] not in said
    assert is_there(file)


# -- as a plain kernel -----------------------------------------------------------------------------


def plain_spec(name: str, argv: list[str]) -> None:
    """A kernelspec that names no provisioner: only the command."""
    directory = Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels" / name
    directory.mkdir(parents=True)
    content = {"argv": argv, "display_name": name, "language": "python"}
    (directory / "kernel.json").write_text(json.dumps(content))


NOW = [
    *APP,
    "--SSHKernelApp.kernel_name=remote",
    "--KernelManager.connection_file={connection_file}",
]
OLD = [
    sys.executable,
    str(Path(sys.executable).with_name("sshpyk-kernel")),
    "--SSHKernelApp.kernel_name=remote",
    "--KernelManager.connection_file='{connection_file}'",
]


@pytest.mark.parametrize("argv", [NOW, OLD], ids=["now", "1.25"])
def test_as_a_plain_kernel(sshd: Sshd, remote_home: Path, argv: list[str]) -> None:
    write_spec("remote", sshd)
    plain_spec("plain", argv)
    manager = KernelManager(kernel_name="plain")
    manager.start_kernel()
    try:
        ports = manager.ports
        with client_of(manager) as client:
            assert run_code(client, "import os; print('SSH_CONNECTION' in os.environ)") == "True\n"
            assert manager.ports == ports
            request = client.execute("import time; print('now'); time.sleep(100)")
            while client.get_iopub_msg(timeout=PATIENCE)["msg_type"] != "stream":
                pass
            manager.interrupt_kernel()
            assert reply_to(client, request)["ename"] == "KeyboardInterrupt"
            manager.restart_kernel()
            client.wait_for_ready(timeout=PATIENCE)
            assert run_code(client, "print(1)") == "1\n"
            assert manager.ports == ports
    finally:
        manager.shutdown_kernel()
        manager.context.destroy(linger=100)
    assert kernels(remote_home) == []


PARENT = """
import sys, time
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name="plain")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
print(manager.provisioner.pid, flush=True)
time.sleep(1000)
"""


def test_as_a_plain_kernel_it_ends_with_its_parent(sshd: Sshd, remote_home: Path) -> None:
    write_spec("remote", sshd)
    plain_spec("plain", NOW)
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        pid = int(it.stdout.readline())
        it.kill()
    deadline = time.monotonic() + PATIENCE
    while kernels(remote_home) and time.monotonic() < deadline:
        time.sleep(0.05)  # another's child
    assert kernels(remote_home) == []
    while start_time(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert start_time(pid) is None


def test_others_run_it(sshd: Sshd, remote_home: Path, tmp_path: Path) -> None:
    write_spec("remote", sshd)
    plain_spec("plain", NOW)
    script = tmp_path / "script.py"
    script.write_text("import os\nprint('there:', 'SSH_CONNECTION' in os.environ)\n")
    for name in ("plain", "remote"):
        said = subprocess.run(
            [str(Path(sys.executable).with_name("jupyter")), "run", "--kernel", name, str(script)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert "there: True" in said.stdout, said.stderr
    assert kernels(remote_home) == []


def test_jupyter_console_connects_as_it_is_told(sshd: Sshd) -> None:
    write_spec("remote", sshd)
    with app() as terminal:
        command = terminal.match(r"To connect: jupyter (console --existing \S+)\n").group(1)
        jupyter = str(Path(sys.executable).with_name("jupyter"))
        with Terminal([jupyter, *command.split(), "--simple-prompt"]) as console:
            console.expect("In [1]:")
            console.press("import os; 'SSH_CONNECTION' in os.environ\n")
            console.expect("True")
            console.press("quit(keep_kernel=True)\n")
            console.end()
        terminal.send(signal.SIGTERM)
        assert terminal.end() == 0
