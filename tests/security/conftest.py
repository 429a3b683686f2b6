"""A second real user, who tries to get in; directories that everybody may look into."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Seconds for what one program of the second user's does.
TIMEOUT = 30.0


class Intruder:
    """Another user of this machine, without rights of any kind."""

    def __init__(self, account: pwd.struct_passwd) -> None:
        self.uid = account.pw_uid
        self.gid = account.pw_gid
        self.python = next(
            path
            for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")
            if os.path.exists(path) and self._call([path, "-I", "-c", ""]).returncode == 0
        )

    def _call(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                argv,
                user=self.uid,
                group=self.gid,
                extra_groups=[],
                cwd="/",
                env={"PATH": "/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
        except OSError as error:
            return subprocess.CompletedProcess(argv, 126, "", str(error))

    def run(self, code: str, *arguments: object) -> str:
        """Run Python code as that user; what it printed. An error in it fails the test."""
        result = self._call([self.python, "-I", "-c", code, *map(str, arguments)])
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def popen(self, code: str, *arguments: object) -> subprocess.Popen[str]:
        """The same, left running; the caller ends it."""
        return subprocess.Popen(
            [self.python, "-I", "-c", code, *map(str, arguments)],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="session")
def intruder() -> Iterator[Intruder]:
    """A second real user, made for this run and removed after it; that takes root."""
    if os.getuid() != 0:
        pytest.skip("only root can make the second real user that this test needs")
    if shutil.which("useradd") is None:
        pytest.skip("there is no useradd here to make the second real user")
    name = f"sshpyk-t{os.getpid() % 100000}"
    command = ["useradd", "--no-create-home", "--shell", "/bin/sh", name]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield Intruder(pwd.getpwnam(name))
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Path]:
    """A directory with a short name that everybody may enter and list: what is in it must protect
    itself."""
    with tempfile.TemporaryDirectory(prefix="open-", dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)
