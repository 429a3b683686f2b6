"""Real commands that lead somewhere, good ones and bad ones: a job runs, or a sentence says why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from sshpyk import errors
from sshpyk.transport import command, jobs
from sshpyk.transport.command import Command
from sshpyk.transport.entrance import Entrance
from tests.lab.containers import Containers
from tests.starts.shells import SHELLS, needed

PATIENCE = 60.0

PROBE: Any = {"do": "probe", "id": "none", "place": ""}


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE))


def ask(prefix: str, timeout: float = PATIENCE) -> Any:
    """Run a job by the command `prefix`: its answer, or raises why there is none."""

    async def work() -> Any:
        place = Command(Entrance(prefix))
        await place.ensure(timeout=timeout)
        async with jobs.Job(place, sys.executable, PROBE) as job:
            try:
                return await asyncio.wait_for(job.answer(), timeout)
            except (TimeoutError, asyncio.TimeoutError):
                raise job.timed_out(timeout) from None

    return run(work())


def script(directory: Path, text: str) -> str:
    path = directory / "enter"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_command_that_runs_its_words(home: Path) -> None:
    assert ask("env SOME='a b'")["alive"] is False


@pytest.mark.parametrize("shell", SHELLS)
def test_a_command_that_joins_its_words_for_a_shell(home: Path, shell: str) -> None:
    """As ssh, tsh and gcloud do: the shell is whichever the other side has."""
    assert ask(script(home, f'exec {needed(shell)} -c "$*"'))["alive"] is False


def test_a_banner_before_ours_is_skipped(home: Path) -> None:
    prefix = script(home, 'echo "Welcome to the lab!"; echo "Maintenance at 9." >&2; exec "$@"')
    assert ask(prefix)["alive"] is False

    async def look() -> str:
        return await Command(Entrance(prefix)).enter(timeout=PATIENCE)

    assert run(look()) == "Welcome to the lab!"


BAD = [
    ("exit 3", errors.EndedAtOnce, "(exit status 3)"),
    ("echo 'the lab is closed' >&2; exit 1", errors.EndedAtOnce, "the lab is closed"),
    ('exec "$@" < /dev/null', errors.NoInput, "with -i, without -t"),
    ('exec script -qec "$*" /dev/null', errors.ThroughTerminal, "without -t, with -i"),
    ("echo 'the input device is not a TTY' >&2; exit 1", errors.ThroughTerminal, "without -t"),
    ("echo 'sudo: a password is required' >&2; exit 1", errors.NotLoggedIn, "NOPASSWD"),
    # A terminal in which only lines are ended otherwise, as some remote consoles do.
    ("\"$@\" | sed -u 's/$/\\r/'", errors.ThroughTerminal, "without -t, with -i"),
]


@pytest.mark.parametrize(("text", "kind", "words"), BAD, ids=[text[:24] for text, *_ in BAD])
def test_what_is_wrong_is_said_with_what_to_do(
    home: Path, text: str, kind: type[errors.SshpykError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        ask(script(home, text))
    assert words in f"{caught.value.line} {caught.value.details}"


def test_a_command_that_is_not_there(home: Path) -> None:
    with pytest.raises(errors.NoSuchCommand) as caught:
        ask("no-such-program exec -i app")
    assert "no-such-program" in caught.value.line
    assert "sshpyk edit NAME --via COMMAND" in caught.value.line


def test_a_command_that_hangs_is_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "GRACE", 0.1)
    pid = home / "pid"
    prefix = script(home, f"echo $$ > {pid}; exec sleep 600")
    with pytest.raises(errors.ShellWaits):
        ask(prefix, timeout=0.5)
    assert not Path("/proc", pid.read_text().strip()).exists()

    async def look() -> None:
        await Command(Entrance(prefix)).enter(timeout=0.5)

    with pytest.raises(errors.Unreachable):
        run(look())
    script(home, f"echo $$ > {pid}; echo 'sudo: a password is required'; exec sleep 600")
    with pytest.raises(errors.NotLoggedIn):
        run(look())
    assert not Path("/proc", pid.read_text().strip()).exists()


@pytest.mark.parametrize("program", ["docker exec -i", "podman exec -i", "kubectl exec -i -n lab"])
def test_containers_that_are_not_there_or_stopped(docker: Containers, program: str) -> None:
    end = " --" if program.startswith("kubectl") else ""
    container = docker.make("box")
    assert ask(f"{program} box{end}")["host"] == "box"
    container.stop()
    with pytest.raises(errors.NotRunning) as stopped:
        ask(f"{program} box{end}")
    assert "box" in stopped.value.line
    with pytest.raises(errors.NoSuchPlace) as missing:
        ask(f"{program} other{end}")
    assert "other" in missing.value.line
    container.start()
    with pytest.raises(errors.NoInput):
        ask(f"{program} box{end}".replace(" -i", ""))
    with pytest.raises(errors.ThroughTerminal):
        ask(f"{program} box{end}".replace(" -i", " -it"))
    container.assert_clean()


def test_attempts_are_shared_and_have_pauses(home: Path) -> None:
    calls = home / "calls"
    prefix = script(home, f'echo >> {calls}; [ -e {home}/open ] || exit 1; exec "$@"')

    async def work() -> None:
        place = Command(Entrance(prefix))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for _ in range(4):
            attempts = [place.reconnect(None) for _ in range(20)]
            assert len(set(attempts)) == 1
            with pytest.raises(errors.EndedAtOnce):
                await asyncio.shield(attempts[0])
        assert calls.read_text() == "\n" * 4
        assert loop.time() - begun > 0.1 + 0.2 + 0.4 - 0.05
        assert place.identity() is None
        (home / "open").touch()
        waiting = place.reconnect(None)
        place.hurry()
        assert await asyncio.shield(waiting) == place.identity()

    run(work())


def test_where_a_person_is_needed_the_next_attempt_is_far(home: Path) -> None:
    place_asks = script(home, "echo 'sudo: a password is required' >&2; exit 1")

    async def work() -> None:
        place = Command(Entrance(place_asks))
        with pytest.raises(errors.NotLoggedIn):
            await asyncio.shield(place.reconnect(None))
        waiting = place.reconnect(None)
        assert place.next_try is not None
        assert place.next_try - asyncio.get_running_loop().time() > 60
        script(home, 'exec "$@"')
        place.hurry()
        assert await asyncio.shield(waiting) == place.identity()

    run(work())


def test_another_machine_is_neither_dead_nor_alive() -> None:
    """No command of this machine leads on to the one where a kernel was."""

    async def work() -> None:
        with pytest.raises(errors.OtherPlace) as caught:
            Command(Entrance("tsh ssh lab")).node("lab7")
        assert "tsh ssh lab leads to another machine now" in caught.value.line
        assert "lab7" in caught.value.line

    run(work())


def test_one_transport_for_a_place() -> None:
    async def work() -> None:
        one = command.transport(Entrance("env"))
        assert command.transport(Entrance("env")) is one
        assert command.transport(Entrance("env A=b")) is not one

    run(work())
