"""Hosts that want more than a key: a password, or a passphrase."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import select
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.lab.sshd import Sshd

#: Seconds for a process that was killed to end.
PATIENCE = 20.0


class PasswordHost:
    """A real sshd, and an account of it that is made for the occasion, with a password and a home
    of its own: the next one could not write to what this one has left there."""

    def __init__(self, *options: str) -> None:
        self.user = f"sshpyk-t{secrets.token_hex(3)}"
        self.password = f"p '\"$({secrets.token_hex(6)})"
        self.home = Path("/tmp", self.user)
        add = ["useradd", "-m", "-d", str(self.home), "-s", "/bin/sh", self.user]
        subprocess.run(add, check=True)
        try:
            line = f"{self.user}:{self.password}".encode()
            subprocess.run(["chpasswd"], input=line, check=True)
            self.sshd = Sshd(options=options, host="login")
        except BaseException:
            self.close()
            raise
        lines = (f"User {self.user}", "PreferredAuthentications password,keyboard-interactive")
        self.sshd.ssh_config.write_text(self.sshd.config_text("login", lines))
        self.config = str(self.sshd.ssh_config)

    def close(self) -> None:
        """Take the account away again."""
        if hasattr(self, "sshd"):
            self.sshd.close()
        self._end_processes()
        subprocess.run(["userdel", self.user], check=True)
        shutil.rmtree(self.home)

    def _end_processes(self) -> None:
        """End what the account still runs, before which it can't be removed: what sshd has just
        ended is there for a moment, and a fork server for longer."""
        own = re.compile(rf"^Uid:\t{pwd.getpwnam(self.user).pw_uid}\t", re.MULTILINE)
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                descriptor = os.pidfd_open(int(process.name))
                try:
                    if own.search((process / "status").read_text()):
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                        end = select.poll()
                        end.register(descriptor, select.POLLIN)
                        assert end.poll(PATIENCE * 1000), f"{process.name} does not end"
                finally:
                    os.close(descriptor)


def needs_root() -> None:
    if os.getuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must not skip tests: an account can only be made by root")
        pytest.skip("an account can only be made by root")


def locked_config(sshd: Sshd, directory: Path, *lines: str) -> tuple[Path, Path]:
    """A configuration of the host `locked`, and its key, which "open sesame" opens."""
    key = directory / "key"
    key.write_bytes(sshd.identity.read_bytes())
    key.chmod(0o600)
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(key)]
    subprocess.run(change, check=True, stdout=subprocess.DEVNULL)
    config = directory / "config"
    config.write_text(
        sshd.config_text("locked", (*lines, f"IdentityFile {key}", "IdentityAgent none"))
    )
    config.write_text(config.read_text().replace(f'IdentityFile "{sshd.identity}"', ""))
    return config, key
