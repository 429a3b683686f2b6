"""The lab's own pieces do what the other tests rely on."""

from __future__ import annotations

import gc
import os
import select
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.lab.link import Link
from tests.lab.peers import (
    TIMEOUT,
    Master,
    alive,
    connect,
    echo,
    exchange,
    listening,
    read_exactly,
    ssh,
)
from tests.lab.sshd import Sshd

SILENCE = 0.2  # seconds in which nothing may come


def assert_silent(connection: socket.socket) -> None:
    """Nothing comes on `connection`, not even its end."""
    assert not select.select([connection], [], [], SILENCE)[0]


# The link.


def test_link_carries_and_counts() -> None:
    data = os.urandom(20_000_000)
    with listening(echo) as target, Link(target) as link:
        assert exchange(link.port, data) == data
        assert (link.bytes_up, link.bytes_down) == (len(data), len(data))
        assert link.connections == 1
        assert exchange(link.port, b"again") == b"again"
        assert link.connections == 2


def test_link_leaves_no_thread() -> None:
    with listening(echo) as target:
        before = threading.active_count()
        with Link(target) as link, connect(link.port) as client:
            client.sendall(b"ping")
            assert read_exactly(client, 4) == b"ping"
            assert link.live == 1
            link.close()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            assert link.live == 0
        # The target's own thread, which was this connection's, may still be on its way out.
        names = {thread.name for thread in threading.enumerate()}
        assert "link" not in names
        assert threading.active_count() <= before + 1


def test_link_that_is_closed_while_a_connection_ends_leaves_none_open() -> None:
    with listening(echo) as target:
        for turn in range(40):
            with Link(target) as link:
                for client in [connect(link.port) for _ in range(10)]:
                    client.sendall(b"ping")
                    assert read_exactly(client, 4) == b"ping"
                    client.close()
                # Each link is closed at another moment of the end, which takes a millisecond.
                time.sleep(turn / 40_000)
    gc.collect()  # what is open and nobody's warns, which is an error


def test_link_cut_resets_both_sides() -> None:
    ended = threading.Event()

    def watch(connection: socket.socket) -> None:
        try:
            echo(connection)
        except ConnectionResetError:
            ended.set()

    with listening(watch) as target, Link(target) as link:
        with connect(link.port) as client:
            client.sendall(b"ping")
            assert read_exactly(client, 4) == b"ping"
            assert link.cut() == 1
            assert link.live == 0
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        assert ended.wait(TIMEOUT)
        assert link.cut() == 0
        assert exchange(link.port, b"again") == b"again"


def test_link_hole_is_silent_and_loses_nothing() -> None:
    data = os.urandom(3_000_000)
    with listening(echo) as target, Link(target) as link, connect(link.port) as client:
        client.sendall(b"ping")
        assert read_exactly(client, 4) == b"ping"
        link.hole()
        sending = threading.Thread(target=client.sendall, args=(data,))
        sending.start()
        assert_silent(client)
        assert (link.bytes_up, link.bytes_down) == (4, 4)
        link.heal()
        assert read_exactly(client, len(data)) == data
        sending.join()


def test_link_hole_in_the_middle_of_much_stops_at_once() -> None:
    data = os.urandom(20_000_000)
    with listening(echo) as target, Link(target) as link, connect(link.port) as client:
        sending = threading.Thread(target=client.sendall, args=(data,))
        sending.start()
        start = read_exactly(client, 1_000_000)
        link.hole()
        carried = link.bytes_up, link.bytes_down
        rest = read_exactly(client, carried[1] - len(start))  # what was already through
        assert_silent(client)
        assert (link.bytes_up, link.bytes_down) == carried
        link.heal()
        start += rest
        assert start + read_exactly(client, len(data) - len(start)) == data
        sending.join()


def test_link_hole_hides_an_end_and_new_connections() -> None:
    heard = threading.Event()

    def leave(connection: socket.socket) -> None:
        connection.recv(4)
        connection.sendall(b"bye")
        heard.set()

    with listening(leave) as target, Link(target) as link:
        link.hole()
        with connect(link.port) as client:
            client.sendall(b"ping")
            assert_silent(client)
            assert not heard.is_set()
            link.heal()
            assert read_exactly(client, 3) == b"bye"
            assert client.recv(1) == b""


def test_link_can_be_cut_in_a_hole() -> None:
    with listening(echo) as target, Link(target) as link, connect(link.port) as client:
        client.sendall(b"ping")
        assert read_exactly(client, 4) == b"ping"
        link.hole()
        assert link.cut() == 1
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_link_refuses_and_accepts() -> None:
    with listening(echo) as target, Link(target) as link, connect(link.port) as old:
        old.sendall(b"old")
        assert read_exactly(old, 3) == b"old"
        link.refuse()
        with connect(link.port) as client:
            assert client.recv(1) == b""
        old.sendall(b"old")
        assert read_exactly(old, 3) == b"old"
        assert link.connections == 1
        link.accept()
        assert exchange(link.port, b"new") == b"new"


def test_link_to_nobody_resets() -> None:
    with listening(echo) as target:
        pass
    # Either may hear of it: under load, connecting is not done before the reset is there.
    with (
        Link(target) as link,
        pytest.raises(ConnectionResetError),
        connect(link.port) as client,
    ):
        client.recv(1)


def test_link_delays_each_way() -> None:
    with listening(echo) as target, Link(target, delay=0.05) as link, connect(link.port) as client:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"  # the handshake is done
        for delay in (0.05, 0.1, 0.0):
            link.set_delay(delay)
            trips = []
            for _ in range(5):
                start = time.monotonic()
                client.sendall(b"x" * 100)
                read_exactly(client, 100)
                trips.append(time.monotonic() - start)
            # The best of them, since the machine may be busy with something else.
            assert 2 * delay <= min(trips) < 2 * delay + 1


def test_link_delay_is_not_a_bandwidth_limit() -> None:
    # One piece of 64 KiB at a time would take eight seconds.
    with listening(echo) as target, Link(target, delay=0.05) as link:
        start = time.monotonic()
        exchange(link.port, bytes(5_000_000))
        assert time.monotonic() - start < 7.0


def test_link_is_as_narrow_as_it_is_told() -> None:
    with listening(echo) as target, Link(target, rate=1_000_000) as link:
        start = time.monotonic()
        exchange(link.port, bytes(300_000))
        took = time.monotonic() - start
        assert took >= 0.3
        link.set_rate(0)
        start = time.monotonic()
        exchange(link.port, bytes(5_000_000))
        assert time.monotonic() - start < 5.0  # which the rate that was would take


# The real sshd.


@pytest.mark.sshd
def test_sshd_is_a_real_one(sshd: Sshd, remote_home: Path) -> None:
    result = ssh(sshd, "cat; echo oops >&2; exit 7", input=b"hello\n")
    assert (result.returncode, result.stdout, result.stderr) == (7, b"hello\n", b"oops\n")
    home, variable = ssh(sshd, "pwd; echo $HOME").stdout.decode().split()
    assert Path(home).samefile(remote_home)
    assert variable == str(remote_home)
    assert "Server listening on 127.0.0.1" in sshd.log.read_text()


@pytest.mark.sshd
def test_sshd_without_extras_is_left_as_it_is() -> None:
    with Sshd(options=("AllowTcpForwarding no",)) as sshd:
        assert ssh(sshd, "echo $SSH_ORIGINAL_COMMAND").stdout == b"\n"
        assert b"administratively prohibited" in ssh(sshd, "-W", "127.0.0.1:1", "").stderr


@pytest.mark.sshd
def test_sshd_can_have_further_hosts(sshd: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        sshd.config_text("one") + sshd.config_text("two", ("User nobody-here", "BatchMode yes"))
    )

    def run(host: str) -> int:
        command = ["ssh", "-F", str(config), host, "true"]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT
        ).returncode

    assert (run("one"), run("two")) == (0, 255)


@pytest.mark.sshd
def test_linked_sshd_is_behind_its_link(linked_sshd: Sshd, short_tmp: Path) -> None:
    link = linked_sshd.link
    assert link is not None
    with Master(linked_sshd, short_tmp) as master:
        assert link.live == 1
        assert master.run("echo over the link").stdout == b"over the link\n"
        assert link.bytes_up > 0
        assert link.cut() == 1
        assert master.process.wait(TIMEOUT) == 255


# Each prints "a b" only when its own shell parses the line.
SHELLS = {
    "tcsh": ("set x = ( a b ); echo $x:q", b"a b\n"),
    "fish": ("set x a b; echo $x", b"a b\n"),
    "zsh": ("x=(a b); echo ${(j: :)x}", b"a b\n"),
    "bash": ("x=(a b); echo ${x[@]}", b"a b\n"),
}


@pytest.mark.sshd
@pytest.mark.parametrize("shell", SHELLS)
def test_sshd_with_another_shell(shell: str) -> None:
    path = Path("/usr/bin") / shell
    if not path.exists():
        pytest.skip(f"there is no {path}")
    command, answer = SHELLS[shell]
    with Sshd(shell=str(path)) as sshd:
        result = ssh(sshd, command)
        assert (result.returncode, result.stdout) == (0, answer)
        quoted = ssh(sshd, """echo 'one  "two"' $SHELL; exit 3""")
        assert (quoted.returncode, quoted.stdout) == (3, f'one  "two" {path}\n'.encode())


@pytest.mark.sshd
def test_sshd_with_home_and_environment(tmp_path: Path) -> None:
    home = tmp_path / "it's a home"
    home.mkdir()
    environment = {"GREETING": "it's $HOME", "PATH": f"{home}:{os.environ['PATH']}"}
    with Sshd(home=home, environment=environment) as sshd:
        lines = ssh(sshd, 'pwd; echo "$HOME"; echo "$GREETING"; echo "$PATH"').stdout
    assert lines.decode().splitlines() == [
        str(home),
        str(home),
        environment["GREETING"],
        environment["PATH"],
    ]


@pytest.mark.sshd
def test_sshd_takes_its_sessions_with_it() -> None:
    with Sshd() as sshd:
        client = subprocess.Popen(
            ["ssh", "-F", str(sshd.ssh_config), sshd.host, "echo $$; exec sleep 1000"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert client.stdout is not None
        session = int(client.stdout.readline())
        assert alive(session)
    assert client.wait(TIMEOUT) == 255
    client.stdout.close()
    assert not alive(session)
    assert not sshd.directory.exists()


@pytest.mark.sshd
def test_sshd_that_does_not_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="NoSuchOption"):
        Sshd(options=("NoSuchOption yes",))
