"""A real OpenSSH server for tests: on loopback, on a port of its own, with keys of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.lab.link import Link

# sshd must be called by its absolute path, and is seldom on a user's own.
_SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")

_START_ATTEMPTS = 5
_END_TIMEOUT = 10.0  # seconds


def available() -> str | None:
    """Why there can be no real sshd here, for a skipped test to say; None when there can."""
    if _SSHD is None:
        return "there is no sshd here (apt-get install openssh-server)"
    for program in ("ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            return f"there is no {program} here (apt-get install openssh-client)"
    return None


class Sshd:
    """A running sshd, for the current user and one key, from construction to `close`.

    `options` are lines for its sshd_config, stronger than ours ("AllowStreamLocalForwarding no").
    `link` puts a `Link` in front of it, the attribute of that name. `shell`, an absolute path, is
    the login shell that sessions have, `home` their home directory and where they start,
    `environment` what else they find in theirs; without these three, sessions are just sshd's.

    `node` is the host name that sessions see, for which the tests must run as root; `hidden` a
    directory that is empty there, as /tmp of another machine would be.

    Gives `host` and `ssh_config` (for ssh), `port` (the link's, if there is one; `sshd_port` is
    sshd's), `directory`, `identity`, `known_hosts`, `log` (sshd's stderr, a file), and `process`.
    """

    def __init__(
        self,
        *,
        options: Iterable[str] = (),
        link: bool = False,
        shell: str | None = None,
        home: str | os.PathLike[str] | None = None,
        environment: Mapping[str, str] | None = None,
        host: str = "sshd",
        node: str | None = None,
        hidden: str | os.PathLike[str] | None = None,
    ) -> None:
        if reason := available():
            raise RuntimeError(reason)
        self.host = host
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self._temporary = tempfile.TemporaryDirectory(prefix="sshpyk-sshd-")
        self.directory = Path(self._temporary.name)
        self.identity = self._new_key("identity")
        self._host_key = self._new_key("host_key")
        self.known_hosts = self.directory / "known_hosts"
        # Whatever the port: a test may put links of its own in front.
        self.known_hosts.write_text(
            f"[127.0.0.1]:* {self._host_key.with_suffix('.pub').read_text()}"
        )
        self.log = self.directory / "log"
        self.ssh_config = self.directory / "ssh_config"
        self._apart = _apart(node, hidden) if node else []
        self._options = [*options, *self._forced(shell, home, environment)]
        try:
            self.process, self.sshd_port = self._start()
        except BaseException:
            self._temporary.cleanup()
            raise
        self.link = Link(self.sshd_port) if link else None
        self.port = self.link.port if self.link else self.sshd_port
        self.ssh_config.write_text(self.config_text(host))

    def __enter__(self) -> Sshd:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End sshd and what runs in its sessions; detached processes are not its business."""
        if self.process.poll() is None:
            # Stopped, it neither accepts nor reaps, so that the list stays true while we use it.
            self.process.send_signal(signal.SIGSTOP)
            for pid in _descendants(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)
        self.process.wait(_END_TIMEOUT)
        self._logging.join(_END_TIMEOUT)
        if self.link:
            self.link.close()
        self._temporary.cleanup()

    def config_text(self, host: str, extra: Iterable[str] = (), *, port: int | None = None) -> str:
        """A `Host` entry for an ssh_config, with further lines `extra`, by which `host` is us."""
        lines = (
            *extra,  # first, because ssh takes the first value that it finds
            "HostName 127.0.0.1",
            f"Port {port or self.port}",
            f"User {self.user}",
            f'IdentityFile "{self.identity}"',
            "IdentitiesOnly yes",
            f'UserKnownHostsFile "{self.known_hosts}"',
            "GlobalKnownHostsFile none",
            "StrictHostKeyChecking yes",
            "PreferredAuthentications publickey",
        )
        return "\n  ".join((f"Host {host}", *lines)) + "\n"

    def _new_key(self, name: str) -> Path:
        path = self.directory / name
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return path

    def _forced(
        self,
        shell: str | None,
        home: str | os.PathLike[str] | None,
        environment: Mapping[str, str] | None,
    ) -> list[str]:
        """The option that gives sessions another shell, home or environment, if they need one.

        sshd takes shell and home from the user's account, and SetEnv changes neither the shell nor
        where a session starts. So a script stands in. That it is a file keeps its text out of the
        hands of the user's own shell, which runs forced commands and may be of any kind.
        """
        variables = dict(environment or {})
        if home is not None:
            variables["HOME"] = os.fspath(home)
        if shell is not None:
            variables["SHELL"] = shell
        if not variables:
            return []
        script = self.directory / "session"
        exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        script.write_text(
            "\n".join(
                (
                    "#!/bin/sh",
                    *exports,
                    'cd "$HOME"',
                    # As sshd would: the shell under test gets the whole command as one string.
                    'if [ -n "${SSH_ORIGINAL_COMMAND+set}" ]; then',
                    '  command="$SSH_ORIGINAL_COMMAND"; unset SSH_ORIGINAL_COMMAND',
                    '  exec "$SHELL" -c "$command"',
                    "fi",
                    'exec "$SHELL"',
                    "",
                )
            )
        )
        script.chmod(0o700)
        forced = [f"ForceCommand {script}"]
        if home is not None:
            # Already for the account's own shell, that it find no start-up files of the tester's.
            forced.append(f'SetEnv "HOME={os.fspath(home)}"')
        return forced

    def _start(self) -> tuple[subprocess.Popen[str], int]:
        if os.getuid() == 0:
            # Where sshd, as root, confines what handles strangers. Packages make it at boot only.
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        assert _SSHD is not None
        config = self.directory / "sshd_config"
        for _ in range(_START_ATTEMPTS):
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port: int = probe.getsockname()[1]
            config.write_text(
                "\n".join(
                    (
                        *self._options,  # first, because sshd takes the first value that it finds
                        f"ListenAddress 127.0.0.1:{port}",
                        f"HostKey {self._host_key}",
                        f"AuthorizedKeysFile {self.identity}.pub",
                        "AuthenticationMethods publickey",
                        "PermitRootLogin prohibit-password",
                        # What OpenSSH 9 prefers takes a tenth of a second of a processor. The
                        # second name is the one that paramiko has for it.
                        "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org",
                        "StrictModes no",
                        "UsePAM no",
                        "PidFile none",
                        "LogLevel VERBOSE",
                        "",
                    )
                )
            )
            process = subprocess.Popen(
                [*self._apart, _SSHD, "-D", "-e", "-f", config],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if line.startswith("Server listening on"):
                    self._logging = threading.Thread(
                        target=self._keep_log, args=(process, said), name="sshd-log", daemon=True
                    )
                    self._logging.start()
                    return process, port
            process.stderr.close()
            process.wait(_END_TIMEOUT)
            if "Address already in use" not in said:  # somebody was quicker, rarely
                break
        raise RuntimeError(f"sshd does not start:\n{said}")

    def said(self) -> str:
        """What its log has, with all that it had said when this was called."""
        # It says of each connection which it is, behind what it had said before.
        with socket.create_connection(("127.0.0.1", self.sshd_port)) as last:
            words = f"Connection from 127.0.0.1 port {last.getsockname()[1]} "
            end = time.monotonic() + _END_TIMEOUT
            while words not in (text := self.log.read_text()):
                if time.monotonic() > end:
                    raise RuntimeError(f"sshd says nothing any more:\n{text}")
                time.sleep(0.01)
        return text

    def _keep_log(self, process: subprocess.Popen[str], said: str) -> None:
        assert process.stderr is not None
        with process.stderr, open(self.log, "w", buffering=1) as log:
            log.write(said)
            for line in process.stderr:
                log.write(line)


def _descendants(pid: int) -> list[int]:
    """The processes that `pid` has started, and those that they have, as far as they are there."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True
    ).stdout
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found = [pid]
    for parent in found:  # grows meanwhile
        found += children.get(parent, [])
    return found[1:]


def _apart(node: str, hidden: str | os.PathLike[str] | None) -> list[str]:
    """What goes before a command so that it runs as if on a machine called `node`."""
    script = 'hostname "$0"; [ -z "$1" ] || mount -t tmpfs tmpfs "$1"; shift; exec "$@"'
    return ["unshare", "--uts", "--mount", "sh", "-c", script, node, os.fspath(hidden or "")]
