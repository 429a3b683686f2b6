"""Running jobs of ours on a host where nothing is installed: the files travel on ssh's stdin."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from .. import errors
from ..agent.boot import MAGIC
from ..ssh import complaints
from ..ssh.command import end
from ..ssh.master import Master
from . import package, unanswered

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

#: Bytes of shell noise that are kept for an error message, and bytes of noise and answers after
#: which the job is given up.
KEPT_NOISE = 64 * 1024
MOST_HEARD = 4 * 1024 * 1024

#: Seconds before a session that the host had no room for is asked for again.
REFUSED_PAUSE = 0.1


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


class Session:
    """A job that runs on the host, for as long as it has something to say: use as `async with`.

    `compiled` says that the host's Python was seen to read our bytecode (see `package`).
    `answer` raises one of `sshpyk.errors` where the job does not answer, which says why.
    """

    def __init__(
        self,
        master: Master,
        python: str,
        request: dict[str, Any],
        pythonhome: str | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        self._master = master
        self._python = python
        self._request = request
        self._pythonhome = pythonhome
        self._compiled = compiled
        self._process: asyncio.subprocess.Process
        self._errors: asyncio.Task[None]
        self._noise = b""
        self._lines: list[bytes] = []  # that were not looked at yet
        self._rest = b""  # what follows them, without an end
        self._heard = 0
        self._stderr = b""  # of this attempt

    async def __aenter__(self) -> Session:
        await self._begin()
        return self

    async def _begin(self) -> None:
        self._stderr = b""
        data = await asyncio.to_thread(self._input)  # the first time it takes a while
        argv = self._master.session_argv(command_line(self._python, self._pythonhome))
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        self._errors = asyncio.create_task(self._read_errors())
        self._write(data)

    def _input(self) -> bytes:
        request = json.dumps(self._request).encode("ascii") + b"\n"
        if self._request["do"] == "launch":
            return package.first() + request + package.rest(compiled=self._compiled)
        return package.whole() + request

    async def __aexit__(self, *exc: object) -> None:
        await self._end()

    async def _end(self) -> None:
        await end(self._process)
        self._errors.cancel()
        await asyncio.wait([self._errors])
        if self._process.stdin is not None:
            self._process.stdin.close()

    def say(self, line: str) -> None:
        """Tell the job something on its stdin."""
        self._write(line.encode("ascii") + b"\n")

    async def answer(self) -> dict[str, Any]:
        """The next answer. Raises `RemoteError` or `HostError` where there will be none."""
        assert self._process.stdout is not None
        while True:
            for number, line in enumerate(self._lines):
                answer = _read(line)
                if answer is not None:
                    del self._lines[: number + 1]
                    if answer.get("wants") == "sources" and self._compiled:
                        self._compiled = False  # it is another Python than it was
                        self._write(await asyncio.to_thread(package.rest, compiled=False))
                        break
                    return self._checked(answer)
            self._noise = (self._noise + b"\n".join([b"", *self._lines]))[-KEPT_NOISE:]
            data = await self._process.stdout.read(65536)
            if not data:
                if await self._is_refused():
                    await asyncio.sleep(REFUSED_PAUSE)
                    await self._end()
                    await self._begin()
                    continue
                raise await self._no_answer()
            self._heard += len(data)
            if self._heard > MOST_HEARD:
                raise self._endless()
            *self._lines, self._rest = (self._rest + data).split(b"\n")

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(65536):
            self._stderr = (self._stderr + data)[-KEPT_NOISE:]

    @property
    def noise(self) -> str:
        """The end of what came and is no answer, for people."""
        parts = (self._readable(self._not_answers)[-1000:], self._readable(self._stderr)[-2000:])
        return "\n".join(parts).strip()

    @property
    def _not_answers(self) -> bytes:
        """The end of what came on stdout, with a last line that may have no end, like a prompt."""
        return (self._noise + b"\n" + self._rest)[-KEPT_NOISE:]

    def _readable(self, noise: bytes) -> str:
        """`noise` for people, and without what we sent: some programs echo it, keys and all."""
        kernel = self._request.get("kernel", {})
        secrets = (self._request.get("token"), kernel.get("key"), kernel.get("curve_secretkey"))
        text = noise.decode("utf-8", "replace")
        for sent in (FIRST_LINE, *secrets):
            text = text.replace(sent, "…") if sent else text
        lines = (line.rstrip() for line in text.split("\n") if "\ufffd" not in line)
        return re.sub(r"[^\n\t -~\xa0-\U0010ffff]", "", "\n".join(lines)).strip()

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "error" in answer:
            command = self._master.destination.for_people()
            raise errors.from_agent(self._host, answer, command=command, python=self._python)
        return answer

    async def _is_refused(self) -> bool:
        """Whether the job has not begun, for want of room on the host for one more session."""
        status = await self._process.wait()
        await self._errors
        said = self._stderr.decode("utf-8", "replace")
        return status == 255 and not self._heard and complaints.is_session_refused(said)

    def timed_out(self, seconds: float) -> errors.SshpykError:
        """Why the job, which has not answered within so many seconds, may not have."""
        kind = unanswered.explain_wait(self._heard_instead(None))
        return self._error(kind, details=self.noise, seconds=seconds)

    async def _no_answer(self) -> errors.SshpykError:
        """Why the job ended without an answer."""
        status = await self._process.wait()
        heard = self._heard_instead(status)
        kind, fields = unanswered.explain(heard)
        if status == 255 and kind not in (errors.PythonTooOld, errors.NoCommands):
            if self._master.identity() is None:
                return errors.ConnectionLost(host=self._host, details=self.noise)
            error = complaints.host_error(self._master.destination, heard.stderr)
            if type(error) is not errors.HostError:
                return error  # else the command's own status, on a host that was reached
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
            data.decode("utf-8", "replace") for data in (self._not_answers, self._stderr)
        )
        return unanswered.Heard(status, stdout, stderr, self._python)

    def _error(self, kind: type[errors.SshpykError], **fields: object) -> errors.SshpykError:
        return kind(
            host=self._host,
            python=self._python,
            command=self._master.destination.for_people(),
            **fields,
        )

    @property
    def _host(self) -> str:
        return self._master.destination.host


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
    master: Master,
    python: str,
    request: dict[str, Any],
    *,
    timeout: float,
    pythonhome: str | None = None,
) -> dict[str, Any]:
    """Run a job that answers once; its answer. `timeout` in seconds, then TimeoutError."""

    async def work() -> dict[str, Any]:
        async with Session(master, python, request, pythonhome) as session:
            return await session.answer()

    return await asyncio.wait_for(work(), timeout)
