"""An `ssh` of ours for tests without a server: its host is this machine, and it does as it is told.

It makes a master (a process that listens on the control path, and does what it is asked there),
runs commands by `sh`, and forwards unix sockets by symbolic links. What it should do otherwise is
in files beside it: see `FakeSsh`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sshpyk.ssh.command import Destination

PROGRAM = r"""#!{python} -IS
import json, os, socket, struct, sys, time

here = os.path.dirname(os.path.abspath(sys.argv[0]))
words = sys.argv[1:]
options = [words[n + 1] for n, word in enumerate(words[:-1]) if word == "-o"]


def note(words):
    with open(os.path.join(here, "calls"), "a") as file:
        file.write(json.dumps(words) + "\n")


def read_script():
    try:
        with open(os.path.join(here, "script.json")) as file:
            return json.load(file)
    except FileNotFoundError:
        return {{}}


note(words)
script = read_script()


def value(name):
    for option in options:
        if option.startswith(name + "="):
            return option[len(name) + 1:].strip('"')
    return None


def fail(text, status=255):
    sys.stderr.write(text + "\n")
    sys.exit(status)


def message(*numbers):
    content = struct.pack(">%dI" % len(numbers), *numbers)
    return struct.pack(">I", len(content)) + content


def requests(connection):
    # What is asked on the control socket: the type, the number, and the fields that follow.
    file = connection.makefile("rb")
    while True:
        size = file.read(4)
        if len(size) < 4:
            return
        content = file.read(struct.unpack(">I", size)[0])
        kind, number = struct.unpack_from(">2I", content)
        fields, at = [], 8
        while kind in (0x10000006, 0x10000007) and at < len(content):
            (field,) = struct.unpack_from(">I", content, at)
            at += 4
            if len(fields) in (1, 3):  # a text, behind its length
                field = content[at : at + field].decode()
                at += len(field)
            fields.append(field)
        yield kind, number, fields


def serve(connection):
    # Do what is asked on one connection to the control socket.
    for kind, number, fields in requests(connection):
        if kind == 1:  # hello
            connection.sendall(message(1, 4))
            continue
        answer = 0x80000001
        if kind in (0x10000005, 0x10000009):  # exit, stop
            os.unlink(path)
        elif kind == 0x10000006 and read_script().get("refuses_forwards"):
            answer = 0x80000003
        elif kind == 0x10000006:
            os.symlink(fields[3], fields[1])
        elif kind == 0x10000007:
            note(["cancel", fields[1]])
            if os.path.lexists(fields[1]):
                os.unlink(fields[1])
        connection.sendall(message(answer, number))


path = value("ControlPath")
if "-G" in words:
    time.sleep(script.get("config_seconds", 0))
    print("hostname 127.0.0.1\nport 22")
elif "-N" in words:
    time.sleep(script.get("login_seconds", 0))
    if script.get("login_says"):
        fail(script["login_says"])
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    with open(os.path.join(here, "masters"), "a") as file:
        file.write("%d\n" % os.getpid())
    inode = os.stat(path).st_ino
    server.settimeout(0.1)
    while True:
        try:
            connection = server.accept()[0]
            with connection:
                connection.settimeout(5)
                serve(connection)
        except OSError:
            pass
        try:
            if os.stat(path).st_ino != inode:
                break
        except OSError:
            break
else:
    if not os.path.exists(path):
        fail("Control socket connect(%s): No such file or directory" % path)
    if script.get("session_says"):
        fail(script["session_says"])
    os.execvp("sh", ["sh", "-c", words[-1]])
"""


class FakeSsh:
    """The program in `directory`; a test tells by `script` what it should do:

    `config_seconds` and `login_seconds` that `ssh -G` and a login take, `login_says` and
    `session_says` with which these fail, `refuses_forwards`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "ssh"
        self.path.write_text(PROGRAM.format(python=sys.executable))
        self.path.chmod(0o755)

    def destination(self, host: str = "fake", **more: Any) -> Destination:
        """A host that is reached by it."""
        return Destination(host, ssh=str(self.path), **more)

    def script(self, **script: Any) -> None:
        """What it should do from now on."""
        (self.directory / "script.json").write_text(json.dumps(script))

    @property
    def calls(self) -> list[list[str]]:
        """The words of each call so far."""
        path = self.directory / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def end_masters(self) -> None:
        """End what it has left running."""
        path = self.directory / "masters"
        for line in path.read_text().splitlines() if path.exists() else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line), signal.SIGKILL)
