"""A throwaway SSH server on this machine's loopback address, for the demo and for tests.

It needs no root, no sshd and no account of its own: it runs what it is told as the current user,
and lets in only the one key that it makes for the occasion. Everything it writes is in one private
directory that goes when it does.

    with Sandbox() as sandbox:
        subprocess.run(["ssh", "-F", sandbox.ssh_config, sandbox.host, "echo hello"])

It does as OpenSSH's server does: sessions with separate stdout and stderr, exit statuses and
signals, many of them on one connection, and TCP forwards (to loopback only). It has no terminals,
unix socket forwards, remote forwards or subsystems, and refuses them. On top of that it breaks
connections on request, which is what it is there for.

The protocol is paramiko's. No other module imports that: it takes a quarter of a second.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import hmac
import ipaddress
import logging
import os
import pwd
import select
import selectors
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_REQUEST,
)

# A session's or forward's other side is gone: the ordinary end of a pump, not worth a traceback.
_GONE = (OSError, EOFError, paramiko.SSHException)

# What fits into one SSH packet: OpenSSH's client takes 32 KiB, of which paramiko keeps 64 bytes.
_PACKET = 32 * 1024 - 64
# Bytes that a client may send before we have taken any: OpenSSH's own number.
_WINDOW = 2 * 1024 * 1024

_CONNECT_TIMEOUT = 5.0  # seconds; a loopback port answers at once unless its backlog is full
_HANDSHAKE_TIMEOUT = 15.0  # seconds, as long as paramiko allows for one
_END_TIMEOUT = 2.0  # seconds that children have to end after SIGTERM

# Broken connections are what a sandbox is for: what paramiko has to say about them stays here,
# whatever level the rest of the process logs at.
_silent = logging.getLogger("sshpyk.demo.sandbox.paramiko")
_silent.setLevel(logging.CRITICAL)


class Sandbox:
    """An SSH server that lets in only the caller; it serves from `start` to `close`.

    `shell` runs the commands, as `[shell, "-c", command]`: another one shows how its users fare.
    `environment` is added to the little that sshd would set; with `HOME` in it, commands start
    there.

    The caller gets `host` and `ssh_config` (both are for ssh), `port` and `directory`, and owes a
    `close`. Every method may be called from any thread.
    """

    host = "sandbox"

    def __init__(
        self, *, shell: str = "/bin/sh", environment: Mapping[str, str] | None = None
    ) -> None:
        account = pwd.getpwuid(os.getuid())
        self.user = account.pw_name
        self.shell = shell
        self.environment = {
            "HOME": account.pw_dir,
            "USER": self.user,
            "LOGNAME": self.user,
            "SHELL": shell,
            "PATH": os.environ.get("PATH", os.defpath),
            **(environment or {}),
        }
        self._temporary = tempfile.TemporaryDirectory(prefix="sshpyk-sandbox-")  # mode 0700
        self.directory = Path(self._temporary.name)
        self.host_key = _new_key(self.directory / "host_key")
        self.user_key = _new_key(self.directory / "user_key")
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)  # a client may be gone between select and accept
        self.port: int = self._listener.getsockname()[1]
        self.ssh_config = self.directory / "ssh_config"
        self._write_config()

        self._lock = threading.Lock()
        self._wake_reader, self._wake_writer = os.pipe()  # closing the latter ends the listening
        self._refusing = False
        self._closing = False
        self._threads: set[threading.Thread] = set()
        self._connections: set[_Connection] = set()
        self._children: set[subprocess.Popen[bytes]] = set()

    def _write_config(self) -> None:
        known_hosts = self.directory / "known_hosts"
        known_hosts.write_text(
            f"[127.0.0.1]:{self.port} {self.host_key.get_name()} {self.host_key.get_base64()}\n"
        )
        self.ssh_config.write_text(
            f"Host {self.host}\n"
            "  HostName 127.0.0.1\n"
            f"  Port {self.port}\n"
            f"  User {self.user}\n"
            f'  IdentityFile "{self.directory / "user_key"}"\n'
            "  IdentitiesOnly yes\n"
            f'  UserKnownHostsFile "{known_hosts}"\n'
            "  GlobalKnownHostsFile none\n"
            "  StrictHostKeyChecking yes\n"
            "  PreferredAuthentications publickey\n"
        )

    def start(self) -> Sandbox:
        """Begin to serve, in threads. Returns itself."""
        self.spawn("listen", self._listen)
        return self

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop every connection, end the children that are still there, take everything away.

        What a child has put into a session of its own (setsid) is no child of ours, and stays.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
            os.close(self._wake_writer)
        self.drop()
        self._signal_children(signal.SIGTERM)
        self._join(time.monotonic() + _END_TIMEOUT)
        self._signal_children(signal.SIGKILL)
        self._join()
        self._listener.close()
        os.close(self._wake_reader)
        self._temporary.cleanup()

    # Faults on request.

    def drop(self) -> int:
        """Break all present TCP connections, abortively; returns how many, once they are gone."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.wire.abort()
        for connection in connections:
            connection.gone.wait()
        return len(connections)

    def refuse(self) -> None:
        """From now on close new connections at once. Present ones stay."""
        self._refusing = True

    def accept(self) -> None:
        """Take new connections again."""
        self._refusing = False

    @property
    def connections(self) -> int:
        """How many TCP connections there are at this moment."""
        return len(self._connections)

    # What connections and sessions need.

    def spawn(self, name: str, target: Callable[[], None]) -> threading.Thread:
        """Run `target` in a thread that `close` waits for: it ends soon after its connection."""

        def run() -> None:
            try:
                target()
            finally:
                with self._lock:
                    self._threads.discard(thread)

        # Daemonic: a program that forgets to close us can still end.
        thread = threading.Thread(target=run, name=f"sandbox-{name}", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()
        return thread

    def forget(self, connection: _Connection) -> None:
        """`connection` has ended."""
        with self._lock:
            self._connections.discard(connection)

    def run_child(self, argv: Sequence[str | bytes]) -> subprocess.Popen[bytes]:
        """Start `argv` as sshd would. Raises OSError when that fails or the sandbox is closing."""
        home = self.environment["HOME"]
        with self._lock:
            if self._closing:
                raise OSError("the sandbox is closing")
            child = subprocess.Popen(
                argv,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=home if os.path.isdir(home) else "/",
                env=self.environment,
                start_new_session=True,
            )
            self._children.add(child)
            return child

    def wait_child(self, child: subprocess.Popen[bytes]) -> int:
        """Wait for a child's end; returns its status, negative when a signal ended it."""
        status = child.wait()
        with self._lock:
            self._children.discard(child)
        return status

    # The rest is our own.

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if self._wake_reader in ready:
                    return
                with contextlib.suppress(OSError):
                    self._admit(self._listener.accept()[0])

    def _admit(self, accepted: socket.socket) -> None:
        with self._lock:
            if self._refusing or self._closing:
                accepted.close()
                return
            connection = _Connection(self, accepted)
            self._connections.add(connection)
        self.spawn("connection", connection.serve)

    def _signal_children(self, number: signal.Signals) -> None:
        with self._lock:
            for child in self._children:
                if child.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, number)  # start_new_session gave the group its number

    def _join(self, deadline: float | None = None) -> None:
        """Wait for all threads, until `deadline` (of the monotonic clock) if there is one."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))


class _Wire(socket.socket):
    """A client's TCP connection as paramiko's reading thread sees it.

    `settle` is called by that thread before each read, hence after each message has been dealt with
    and answered: the one moment at which what a message asked for may begin.
    """

    def __init__(self, accepted: socket.socket, settle: Callable[[], None]) -> None:
        super().__init__(fileno=accepted.detach())
        with contextlib.suppress(OSError):  # it may be gone already
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._settle = settle
        self._aborted = False

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._settle()
        return b"" if self._aborted else super().recv(size, flags)

    def settimeout(self, value: float | None) -> None:
        """paramiko asks for 0.1 s, to see whether it should end; ours is woken for that."""
        super().settimeout(_HANDSHAKE_TIMEOUT)

    def abort(self) -> None:
        """Have both directions end at once, whoever waits in them, and the closing send a reset."""
        self._aborted = True
        with contextlib.suppress(OSError):
            self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Called by paramiko. Wakes whoever still waits in a send, which closing alone does not."""
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)
        super().close()


class _Connection(paramiko.ServerInterface):
    """One client: whether it may come in, what it may ask for, its sessions and forwards.

    paramiko calls the `check_` methods in its reading thread: nothing in them waits for the client.
    """

    def __init__(self, sandbox: Sandbox, accepted: socket.socket) -> None:
        self.sandbox = sandbox
        self.gone = threading.Event()
        self.wire = _Wire(accepted, self._settle)
        self.transport = paramiko.Transport(self.wire, default_window_size=_WINDOW)
        self.transport.set_log_channel(_silent.name)
        self.transport.add_server_key(sandbox.host_key)
        # New keys only when the client asks. In an exchange that it began itself, paramiko may try
        # to answer a request, from the thread that reads, before it has read the client's part; it
        # then waits for itself, and gives up after 30 s.
        self.transport.packetizer.REKEY_BYTES = self.transport.packetizer.REKEY_PACKETS = 1 << 62
        # Each open channel (paramiko keeps only weak references), and what its closing ends.
        self._channels: dict[paramiko.Channel, Callable[[], None]] = {}
        self._later: collections.deque[Callable[[], None]] = collections.deque()

    def serve(self) -> None:
        """Serve the client until its connection ends."""
        try:
            self.transport.start_server(threading.Event(), self)
            self.transport.join()
            # Ends the timer of a handshake that was cut short: its thread would linger for 15 s.
            self.transport.packetizer.complete_handshake()
            self.wire.close()
            self._settle()  # every channel is closed by now
        finally:
            self.sandbox.forget(self)
            self.gone.set()

    def _settle(self) -> None:
        while self._later:
            self._later.popleft()()
        for channel in [channel for channel in self._channels if channel.closed]:
            self._channels.pop(channel)()

    def _take_channel(self) -> paramiko.Channel | None:
        """The channel just opened; None if the connection broke before the client was told."""
        return self.transport.accept(0)

    # Whether it may come in.

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        user = hmac.compare_digest(username.encode(), self.sandbox.user.encode())
        same = hmac.compare_digest(key.asbytes(), self.sandbox.user_key.asbytes())
        return AUTH_SUCCESSFUL if user and same else AUTH_FAILED

    # What it may ask for. Whatever isn't here paramiko refuses.

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind != "session":
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        self._later.append(self._open_session)
        return OPEN_SUCCEEDED

    def _open_session(self) -> None:
        if channel := self._take_channel():
            self._channels[channel] = _nothing

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return self._run(channel, [self.sandbox.shell, "-c", command])

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return self._run(channel, [self.sandbox.shell])

    def _run(self, channel: paramiko.Channel, argv: Sequence[str | bytes]) -> bool:
        if self._channels.get(channel) is not _nothing:
            return False  # a session runs one command

        def begin() -> None:
            session = _Session(self.sandbox, channel, argv)
            self._channels[channel] = session.end
            self.sandbox.spawn("session", session.run)

        # Once the client has its answer: a quick command's end must not overtake that.
        self._later.append(begin)
        return True

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        if not _is_loopback(destination[0]):
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            target = socket.create_connection(destination, _CONNECT_TIMEOUT)
        except OSError:
            return OPEN_FAILED_CONNECT_FAILED
        target.settimeout(None)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._later.append(functools.partial(self._open_forward, target))
        return OPEN_SUCCEEDED

    def _open_forward(self, target: socket.socket) -> None:
        if channel := self._take_channel():
            forward = _Forward(self.sandbox, channel, target)
            self._channels[channel] = forward.end
            self.sandbox.spawn("forward", forward.run)
        else:
            target.close()


class _Session:
    """One command: its process, and the bytes between that and its channel."""

    def __init__(
        self, sandbox: Sandbox, channel: paramiko.Channel, argv: Sequence[str | bytes]
    ) -> None:
        self.sandbox = sandbox
        self.channel = channel
        self.argv = argv
        self._end_reader, self._end_writer = os.pipe()  # closing the latter is the word to end

    def end(self) -> None:
        """The channel has closed: close the child's pipes, as sshd does, and let it be."""
        os.close(self._end_writer)

    def run(self) -> None:
        try:
            self._serve()
        finally:
            _close(self.channel)
            os.close(self._end_reader)

    def _serve(self) -> None:
        try:
            child = self.sandbox.run_child(self.argv)
        except OSError as error:
            with contextlib.suppress(*_GONE):
                self.channel.sendall_stderr(f"{error}\n".encode())
                self.channel.send_exit_status(127)
            return
        feeding = self.sandbox.spawn("stdin", functools.partial(self._feed, child))
        draining = self.sandbox.spawn("stdout", functools.partial(self._drain, child))
        status = self.sandbox.wait_child(child)
        with contextlib.suppress(*_GONE):
            self._report(status)
        draining.join()  # as with sshd, whoever else has the pipes open keeps the session open
        # Only this says that the output has ended. Had the client heard so before, it might have
        # closed the channel, and with paramiko there is no exit status after that.
        _close(self.channel)
        feeding.join()

    def _feed(self, child: subprocess.Popen[bytes]) -> None:
        """From the channel to the child's stdin, until one of them has had enough."""
        assert child.stdin is not None
        with child.stdin, contextlib.suppress(*_GONE):
            stdin = child.stdin.fileno()
            os.set_blocking(stdin, False)
            poll = select.poll()
            poll.register(stdin, select.POLLOUT)
            poll.register(self._end_reader, select.POLLIN)
            while data := self.channel.recv(_WINDOW):
                view = memoryview(data)
                while view:
                    if self._end_reader in dict(poll.poll()):
                        return
                    view = view[os.write(stdin, view) :]

    def _drain(self, child: subprocess.Popen[bytes]) -> None:
        """From the child's stdout and stderr to the channel, until both have ended."""
        assert child.stdout is not None
        assert child.stderr is not None
        with child.stdout, child.stderr, contextlib.suppress(*_GONE):
            send = {
                child.stdout.fileno(): self.channel.sendall,
                child.stderr.fileno(): self.channel.sendall_stderr,
            }
            poll = select.poll()
            for descriptor in (*send, self._end_reader):
                poll.register(descriptor, select.POLLIN)
            while send:
                for descriptor, _ in poll.poll():
                    if descriptor == self._end_reader:
                        return
                    if data := os.read(descriptor, _PACKET):
                        send[descriptor](data)
                    else:
                        poll.unregister(descriptor)
                        del send[descriptor]

    def _report(self, status: int) -> None:
        if self.channel.closed:
            return
        if status >= 0:
            self.channel.send_exit_status(status)
            return
        # RFC 4254, 6.10. paramiko has no method for it, nor a public one that sends a message only
        # when no exchange of keys is going on.
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(self.channel.remote_chanid)
        message.add_string("exit-signal")
        message.add_boolean(False)  # no answer wanted
        message.add_string(signal.Signals(-status).name.removeprefix("SIG"))
        message.add_boolean(False)  # no core dumped
        message.add_string("")  # no explanation
        message.add_string("")  # in no language
        self.channel.get_transport()._send_user_message(message)  # type: ignore[attr-defined]


class _Forward:
    """One forwarded TCP connection: the bytes between a channel and a port of this machine."""

    def __init__(self, sandbox: Sandbox, channel: paramiko.Channel, target: socket.socket) -> None:
        self.sandbox = sandbox
        self.channel = channel
        self.target = target

    def end(self) -> None:
        """The channel has closed, and so shall the connection to the target."""
        with contextlib.suppress(OSError):
            self.target.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        feeding = self.sandbox.spawn("forward-in", self._feed)
        try:
            while data := self.target.recv(_PACKET):
                self.channel.sendall(data)
            self.channel.shutdown_write()
            feeding.join()
        except _GONE:
            self.end()
        finally:
            _close(self.channel)
            feeding.join()
            self.target.close()

    def _feed(self) -> None:
        with contextlib.suppress(*_GONE):
            while data := self.channel.recv(_WINDOW):
                self.target.sendall(data)
            self.target.shutdown(socket.SHUT_WR)


def _close(channel: paramiko.Channel) -> None:
    with contextlib.suppress(*_GONE):
        channel.close()


def _nothing() -> None:
    """What the closing of a session ends that runs no command."""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _new_key(path: Path) -> paramiko.Ed25519Key:
    """Make a key, write it to `path` (0600) as OpenSSH writes its own, and return it."""
    path.touch(0o600)
    path.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
        )
    )
    return paramiko.Ed25519Key(filename=str(path))


def main() -> None:
    """Run a throwaway SSH server in the foreground until Ctrl-C, and say how to reach it."""
    parser = argparse.ArgumentParser(prog="python -m sshpyk.demo.sandbox", description=main.__doc__)
    parser.add_argument("--shell", default="/bin/sh", help="runs the commands; default %(default)s")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), Sandbox(shell=arguments.shell) as sandbox:
        print(f"ssh -F {sandbox.ssh_config} {sandbox.host} 'echo hello'", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
