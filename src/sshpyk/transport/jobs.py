"""Running jobs of ours on a host where nothing is installed: the files travel on stdin."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .. import errors
from ..agent.boot import MAGIC
from ..aio import within
from . import answers, package, refusals, unanswered
from .base import Program, Transport

if TYPE_CHECKING:
    from ..wire.requests import Request

#: The one line that the host's Python is told on its command line. It must mean the same to sh,
#: bash, zsh, csh, tcsh and fish between single quotes: no quote, backslash, ! or newline in it.
#: It must also run on Pythons too old for us, to be able to say so.
FIRST_LINE = (
    "import sys,zlib,marshal;"
    "v=sys.version_info;"
    'v<(3,8)and(sys.stdout.write("SSHPYK2-OLD %d.%d"%v[:2]),sys.exit(3));'
    "sys.path[:]=[p for p in sys.path if p];"
    "s=sys.stdin.buffer;"
    "sources=marshal.loads(zlib.decompress(s.read(int(s.readline(9)))));"
    'exec(sources[""])'
)

#: How a PYTHONHOME, $2, is lent to the Python that runs the agent, $1.
LENDING = 'exec env "SSHPYK_PYTHONHOME=${PYTHONHOME-}" "PYTHONHOME=$2" "$1" -s -S -X utf8 -c "$3"'

#: Bytes of shell noise that are kept for an error message; bytes of noise after which no answer is
#: hoped for; and bytes of one answer.
KEPT_NOISE = 64 * 1024
MOST_NOISE = 4 * 1024 * 1024
LONGEST_ANSWER = 4 * 1024 * 1024

#: Seconds before a program that the host had no room for is tried again.
NO_ROOM_PAUSE = 0.1

#: Seconds for a job that answers at once.
ANSWER_WITHIN = 30.0


def quote(text: str) -> str:
    """`text` as one word for any of the shells: in single quotes, with each ' as '\\''.

    Raises `SettingsError` where there is no such word.
    """
    if text.startswith("~/"):
        return "~/" + (quote(text[2:]) if text[2:] else "")  # home is the host's to say
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise errors.SettingsError(text=f"{text!r} has control characters, which no path has.")
    if text.endswith("\\") or any(piece in text for piece in ("!", "\\'", "\\\\")):
        # fish reads \\ and \' in single quotes, csh reads ! there.
        raise errors.SettingsError(text=f"{text!r} has characters that shells read differently.")
    return "'" + text.replace("'", "'\\''") + "'"


def command_line(python: str, pythonhome: str | None = None) -> str:
    """The command for the host's shell, which starts its Python on the files from stdin."""
    # Isolated (-I) and without site (-S) it starts fastest, and nothing of the user's interferes.
    if pythonhome is None:
        return f"exec {quote(python)} -I -S -X utf8 -c {quote(FIRST_LINE)}"
    # -I ignores PYTHONHOME, so here it can't be used. sh keeps what PYTHONHOME was for the kernel.
    words = " ".join(map(quote, (python, pythonhome, FIRST_LINE)))
    return f"exec sh -c {quote(LENDING)} sh {words}"


class Job:
    """A job of ours that runs on the host, for as long as it has something to say: use as
    `async with`.

    `request` says what to do, see `sshpyk.wire.requests`; `python` is the host's Python that does
    it. `answer` raises one of `sshpyk.errors` where the job does not answer, which says why; unless
    it `waits_for_room`, also `NoRoom`.
    """

    def __init__(
        self,
        transport: Transport,
        python: str,
        request: Request,
        pythonhome: str | None = None,
        *,
        is_lasting: bool = False,
        waits_for_room: bool = True,
    ) -> None:
        self._is_lasting = is_lasting
        self._waits_for_room = waits_for_room
        self.on_no_room: Callable[[], object] = _nothing  #: called before it waits for room
        self._transport = transport
        self._python = python
        self._request: Mapping[str, Any] = request
        self._pythonhome = pythonhome
        self._is_compiled = transport.reads_bytecode.get(python, False)
        self._context = contextlib.AsyncExitStack()
        self._program: Program
        self._has_answered = False
        self._noise = b""
        self._lines: list[bytes] = []  # not read yet
        self._rest = b""  # what follows them, without an end
        self._noise_size = 0  # bytes since the last answer
        self._has_room = True  # as far as is known

    async def __aenter__(self) -> Job:
        await self._begin()
        return self

    async def _begin(self) -> None:
        data = await asyncio.to_thread(self._input)  # the first time it takes a while
        command = command_line(self._python, self._pythonhome)
        run = functools.partial(self._transport.run, is_lasting=self._is_lasting)
        self._program = await self._context.enter_async_context(run(command))
        self._program.write(data)

    def _input(self) -> bytes:
        request = json.dumps(self._request).encode("ascii") + b"\n"
        if self._request["do"] == "launch":
            return package.first() + request + package.rest(compiled=self._is_compiled)
        if self._request["do"] == "relay":
            return package.relay() + request
        return package.whole() + request

    async def __aexit__(self, *exc: object) -> None:
        await self._context.aclose()

    def say(self, line: str) -> None:
        """Tell the job something on its stdin."""
        self._program.write(line.encode("ascii") + b"\n")

    async def answer(self) -> dict[str, Any]:
        """The next answer, of the shape that `answers` has for the job.

        Raises `RemoteError` or `HostError` where there will be none, or where it is no such answer.
        """
        while True:
            for number, line in enumerate(self._lines):
                answer = _read(line)
                if answer is None:
                    self._noise_size += len(line) + 1
                else:
                    if line.endswith(b"\r"):  # as one ends lines
                        raise self._error(errors.ThroughTerminal, details=self.noise)
                    self._has_answered = True
                    self._noise_size = 0
                    del self._lines[: number + 1]
                    if answer.get("wants") == "sources" and self._is_compiled:
                        self._is_compiled = False  # it is another Python than it was
                        self._program.write(await asyncio.to_thread(package.rest, compiled=False))
                        break
                    return self._checked(answer)
            self._noise = (self._noise + b"\n".join([b"", *self._lines]))[-KEPT_NOISE:]
            data = await self._program.read()
            if not data:
                try:
                    status = await self._program.wait()
                except errors.NoRoom:
                    if not self._waits_for_room:
                        raise
                    self._has_room = False
                    self.on_no_room()
                    await self._context.aclose()
                    await asyncio.sleep(NO_ROOM_PAUSE)
                    await self._begin()
                    continue
                raise await self._transport.doubt(self._no_answer(status))
            self._has_room = True
            *self._lines, self._rest = (self._rest + data).split(b"\n")
            if refusals.is_terminal(self._lines):
                raise self._error(errors.ThroughTerminal, details=self.noise)
            if self._noise_size > MOST_NOISE or len(self._rest) > LONGEST_ANSWER:
                raise self._endless()

    @property
    def program(self) -> Program:
        """The program that does it, for a job that speaks no lines once it has answered."""
        return self._program

    @property
    def rest(self) -> bytes:
        """What came behind the last answer."""
        return b"\n".join([*self._lines, self._rest])

    @property
    def noise(self) -> str:
        """The end of what came and is no answer, for people."""
        stderr = self._program.stderr
        parts = (self._readable(self._not_answers)[-1000:], self._readable(stderr)[-2000:])
        return "\n".join(parts).strip()

    @property
    def _not_answers(self) -> bytes:
        """The end of what came on stdout, with a last line that may have no end, like a prompt."""
        return (self._noise + b"\n" + self._rest)[-KEPT_NOISE:]

    def _readable(self, noise: bytes) -> str:
        """`noise` for people, and without what we sent: some programs echo it, keys and all."""
        kernel = self._request.get("kernel", {})
        secrets = [self._request.get(name) for name in ("token", "carrier")]
        secrets += kernel.get("key"), kernel.get("curve_secretkey")
        text = noise.decode("utf-8", "replace")
        for sent in (FIRST_LINE, *secrets):
            text = text.replace(sent, "…") if sent else text
        lines = (line.rstrip() for line in text.split("\n") if "\ufffd" not in line)
        return re.sub(r"[^\n\t -~\xa0-\U0010ffff]", "", "\n".join(lines)).strip()

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        login = self._transport.login.command
        if "error" in answer:
            raise errors.from_agent(self._host, answer, command=login, python=self._python)
        answers.check(self._host, self._request["do"], answer)
        self._transport.python = (self._python, self._pythonhome)
        reads = answer.get("bytecode")
        if reads is not None:
            self._transport.reads_bytecode[self._python] = reads == package.BYTECODE != ""
        return answer

    def timed_out(self, seconds: float) -> errors.SshpykError:
        """Why the job, which has not answered within so many seconds, may not have."""
        if not self._has_room:
            return self._error(errors.NoRoom)
        heard = self._heard_instead(None)
        kind, fields = self._transport.judge(heard, unanswered.explain_wait(heard), {})
        return self._error(kind, details=self.noise, seconds=seconds, **fields)

    def _no_answer(self, status: int) -> errors.SshpykError:
        """Why the job ended without an answer."""
        heard = self._heard_instead(status)
        kind, fields = self._transport.judge(heard, *unanswered.explain(heard))
        if self._has_answered and kind is errors.EndedAtOnce:
            kind, fields = errors.ConnectionLost, {}
        details = self.noise
        if kind is errors.StrangeAnswer:
            details = f"(exit status {status})\n{details}"
        return self._error(kind, details=details, **fields)

    def _endless(self) -> errors.SshpykError:
        """Why there is no end of what is no answer."""
        kind, fields = unanswered.explain(self._heard_instead(None))
        if kind is errors.StrangeAnswer:
            kind = errors.EndlessNoise
        return self._error(kind, details=self.noise, **fields)

    def _heard_instead(self, status: int | None) -> unanswered.Heard:
        stdout, stderr = (
            data.decode("utf-8", "replace") for data in (self._not_answers, self._program.stderr)
        )
        return unanswered.Heard(status, stdout, stderr, self._python)

    def _error(self, kind: type[errors.SshpykError], **fields: object) -> errors.SshpykError:
        login = self._transport.login.command
        return kind(host=self._host, python=self._python, command=login, **fields)

    @property
    def _host(self) -> str:
        return self._transport.host


def _nothing() -> None:
    """Nobody minds."""


def _read(line: bytes) -> dict[str, Any] | None:
    """The answer that a line is, or None where it is noise."""
    if not line.startswith(MAGIC):
        return None
    try:
        answer = json.loads(line[len(MAGIC) :])
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


async def ask(
    transport: Transport,
    python: str,
    request: Request,
    *,
    timeout: float = ANSWER_WITHIN,
    pythonhome: str | None = None,
) -> dict[str, Any]:
    """Run a job that answers once; its answer. `timeout` in seconds, then TimeoutError; to wait
    for its turn, where many run there, does not count."""
    async with Job(transport, python, request, pythonhome) as job:
        return await within(timeout, job.answer())
