"""The throwaway server, as OpenSSH's client sees it."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sshpyk.demo.sandbox import Sandbox
from tests.lab.peers import (
    TIMEOUT,
    Master,
    alive,
    connect,
    echo,
    exchange,
    free_port,
    listening,
    read_exactly,
    ssh,
)


@pytest.fixture
def own() -> Iterator[Sandbox]:
    """A sandbox of this test's own, for those that count connections."""
    with Sandbox() as server:
        yield server


def test_exec_has_its_streams_and_its_status(sandbox: Sandbox) -> None:
    result = ssh(sandbox, "tr a-z A-Z; echo oops >&2; exit 7", input=b"hello\n")
    assert (result.returncode, result.stdout, result.stderr) == (7, b"HELLO\n", b"oops\n")


def test_exec_runs_as_in_a_session_of_sshd(sandbox: Sandbox, remote_home: Path) -> None:
    result = ssh(sandbox, "pwd; echo $HOME $USER $SHELL; ps -o pid=,sid= -p $$")
    home, environment, process = result.stdout.decode().splitlines()
    assert Path(home).samefile(remote_home)
    assert environment == f"{remote_home} {sandbox.user} /bin/sh"
    pid, session = process.split()
    assert pid == session


def test_exec_carries_much_both_ways(sandbox: Sandbox) -> None:
    data = os.urandom(20_000_000)
    result = ssh(sandbox, "cat", input=data)
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()


def test_a_signal_is_no_exit_status(sandbox: Sandbox) -> None:
    result = ssh(sandbox, "-v", "kill -9 $$")
    assert result.returncode == 255
    assert b"rtype exit-signal" in result.stderr


def test_a_missing_shell_says_so() -> None:
    with Sandbox(shell="/nonexistent/shell") as sandbox:
        result = ssh(sandbox, "true")
    assert result.returncode == 127
    assert b"/nonexistent/shell" in result.stderr


def test_without_a_command_the_shell_reads_stdin(sandbox: Sandbox) -> None:
    result = subprocess.run(
        ["ssh", "-T", "-F", str(sandbox.ssh_config), sandbox.host],
        input=b"echo $((6 * 7))\n",
        capture_output=True,
        timeout=TIMEOUT,
    )
    assert result.stdout == b"42\n"


def test_a_child_that_wants_no_input_does_not_hang_the_session(sandbox: Sandbox) -> None:
    assert ssh(sandbox, "exec <&-; echo done", input=bytes(10_000_000)).stdout == b"done\n"


def test_a_key_of_somebody_else_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    with Sandbox() as other:
        key = tmp_path / "key"
        key.touch(0o600)
        key.write_bytes((other.directory / "user_key").read_bytes())
    # IdentityFile adds up: only a configuration without the right key tries the wrong one alone.
    config = tmp_path / "config"
    text = sandbox.ssh_config.read_text()
    config.write_text(text.replace(str(sandbox.directory / "user_key"), str(key)))
    result = subprocess.run(
        ["ssh", "-F", str(config), sandbox.host, "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
    )
    assert result.returncode == 255
    assert b"Permission denied (publickey)" in result.stderr


def test_another_user_is_refused(sandbox: Sandbox) -> None:
    result = ssh(sandbox, "-l", "somebody-else", "true")
    assert result.returncode == 255
    assert b"Permission denied (publickey)" in result.stderr


def test_its_files_are_private(sandbox: Sandbox) -> None:
    assert sandbox.directory.stat().st_mode & 0o777 == 0o700
    for name in ("host_key", "user_key"):
        assert (sandbox.directory / name).stat().st_mode & 0o777 == 0o600


def test_a_master_has_many_sessions_and_a_forward(own: Sandbox, short_tmp: Path) -> None:
    data = os.urandom(20_000_000)
    with Master(own, short_tmp) as master, listening(echo) as target:
        sessions = [
            subprocess.Popen(
                ["ssh", "-S", str(master.path), "-F", str(own.ssh_config), "sandbox", "cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(12)
        ]
        local = short_tmp / "forward"
        assert master.forward(str(local), f"127.0.0.1:{target}").returncode == 0
        port = free_port()
        assert master.forward(f"127.0.0.1:{port}", f"localhost:{target}").returncode == 0
        back = exchange(port, data)
        assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT)
            client.connect(str(local))
            client.sendall(b"ping")
            assert read_exactly(client, 4) == b"ping"
        for number, session in enumerate(sessions):
            line = b"%d\n" % number
            assert session.communicate(line, timeout=TIMEOUT)[0] == line
            assert session.returncode == 0
        assert master.run("echo still here").stdout == b"still here\n"
        assert own.connections == 1


def test_a_master_in_the_background_ends_when_told(sandbox: Sandbox, short_tmp: Path) -> None:
    command = ["ssh", "-F", str(sandbox.ssh_config), "-S", str(short_tmp / "master")]

    def run(*arguments: str) -> int:
        return subprocess.run(
            [*command, *arguments, sandbox.host],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT,
        ).returncode

    assert run("-M", "-N", "-f") == 0
    assert run("-O", "check") == 0
    assert run("-O", "exit") == 0


def test_keepalives_are_answered(sandbox: Sandbox) -> None:
    # After one second of silence the client asks, and leaves when the next second brings nothing.
    alive = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1")
    assert ssh(sandbox, *alive, "sleep 2.5; echo there").stdout == b"there\n"


def test_a_unix_forward_is_refused(sandbox: Sandbox, short_tmp: Path) -> None:
    with Master(sandbox, short_tmp) as master:
        local = short_tmp / "forward"
        assert master.forward(str(local), str(short_tmp / "remote")).returncode == 0
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT)
            client.connect(str(local))
            assert client.recv(1) == b""
        assert master.run("echo still here").stdout == b"still here\n"
        assert "open failed: administratively prohibited" in master.exit()


@pytest.mark.parametrize("address", ["192.0.2.1:80", "example.invalid:80"])
def test_forwards_go_to_loopback_only(sandbox: Sandbox, address: str) -> None:
    result = ssh(sandbox, "-W", address, "")
    assert b"administratively prohibited" in result.stderr


def test_a_forward_to_nobody_is_refused(sandbox: Sandbox) -> None:
    result = ssh(sandbox, "-W", f"127.0.0.1:{free_port()}", "")
    assert b"open failed: connect failed" in result.stderr


def test_a_target_that_resets_ends_the_forward(sandbox: Sandbox, short_tmp: Path) -> None:
    def leave(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1] + [0] * 7))

    with Master(sandbox, short_tmp) as master, listening(leave) as target:
        port = free_port()
        master.forward(f"127.0.0.1:{port}", f"127.0.0.1:{target}")
        with connect(port) as client:
            client.sendall(b"x")
            assert client.recv(1) == b""
        assert master.run("echo still here").stdout == b"still here\n"


def test_drop_ends_masters_forwards_and_pipes(own: Sandbox, short_tmp: Path) -> None:
    ended = threading.Event()

    def watch(connection: socket.socket) -> None:
        echo(connection)
        ended.set()

    with Master(own, short_tmp) as master, listening(watch) as target:
        port = free_port()
        master.forward(f"127.0.0.1:{port}", f"127.0.0.1:{target}")
        with connect(port) as client:
            client.sendall(b"ping")
            assert read_exactly(client, 4) == b"ping"
            assert own.drop() == 1
            assert own.connections == 0
            assert client.recv(1) == b""
        assert master.process.wait(TIMEOUT) == 255
        assert ended.wait(TIMEOUT)
    assert own.drop() == 0
    assert ssh(own, "echo again").stdout == b"again\n"


def test_drop_leaves_children_but_closes_their_pipes(own: Sandbox, short_tmp: Path) -> None:
    fifo = short_tmp / "fifo"
    os.mkfifo(fifo)
    # Ready, then at the end of its stdin the fifo hears of it: from a child that is still there.
    command = f"echo ready; cat; echo survived > {fifo}"
    with subprocess.Popen(
        ["ssh", "-F", str(own.ssh_config), own.host, command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        assert own.drop() == 1
        assert client.wait(TIMEOUT) == 255
    assert fifo.read_text() == "survived\n"


def test_drop_in_the_middle_of_much(own: Sandbox) -> None:
    with subprocess.Popen(
        ["ssh", "-F", str(own.ssh_config), own.host, "yes"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as client:
        assert client.stdout is not None
        client.stdout.read(1_000_000)
        assert own.drop() == 1
        while client.stdout.read(1 << 16):
            pass
        assert client.wait(TIMEOUT) == 255


def test_refuse_and_accept(sandbox: Sandbox, short_tmp: Path) -> None:
    with Master(sandbox, short_tmp) as master:
        sandbox.refuse()
        try:
            assert ssh(sandbox, "true").returncode == 255
            assert master.run("echo still here").stdout == b"still here\n"
        finally:
            sandbox.accept()
    assert ssh(sandbox, "true").returncode == 0


def test_close_ends_children_and_threads_and_leaves_nothing(short_tmp: Path) -> None:
    before = set(threading.enumerate())
    with Sandbox() as sandbox:
        # One child that ignores being asked to end, one that has left for a session of its own,
        # and a client that has not even said hello.
        commands = (
            "trap '' TERM; echo $$; while :; do sleep 1; done",
            f"exec setsid -f sh -c 'echo $$; exec sleep {TIMEOUT * 4}' 2>&1",
        )
        clients = [
            subprocess.Popen(
                ["ssh", "-F", str(sandbox.ssh_config), sandbox.host, command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for command in commands
        ]
        pids = []
        for client in clients:
            assert client.stdout is not None
            pids.append(int(client.stdout.readline()))
        silent = connect(sandbox.port)
        assert silent.recv(4) == b"SSH-"
        assert sandbox.connections == 3
    stubborn, detached = pids
    try:
        assert not alive(stubborn)
        assert alive(detached)
    finally:
        os.kill(detached, 9)
    for client in clients:
        client.communicate(timeout=TIMEOUT)
    silent.close()
    assert not sandbox.directory.exists()
    assert set(threading.enumerate()) == before
    sandbox.close()  # again does nothing


def test_broken_connections_log_nothing(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with connect(sandbox.port) as client:
        client.sendall(b"not ssh\r\n" * 200)
        while client.recv(1024):
            pass
    assert ssh(sandbox, "true").returncode == 0
    assert not caplog.records


def test_the_module_runs_one_until_interrupted() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sshpyk.demo.sandbox"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        command = process.stdout.readline()
        result = subprocess.run(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT
        )
        assert result.stdout == b"hello\n"
        process.terminate()
        assert process.wait(TIMEOUT) == 0
    assert not os.path.exists(command.split()[2])


def test_nobody_else_imports_paramiko() -> None:
    source = "import sys, sshpyk, sshpyk.wire; sys.exit('paramiko' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], timeout=TIMEOUT).returncode == 0
