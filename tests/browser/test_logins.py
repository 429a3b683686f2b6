"""Logins that a person in the browser answers, without the browser: real sshd and ssh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from sshpyk import errors
from sshpyk.lab.logins import Login, Logins, Question
from sshpyk.ssh.command import Destination
from sshpyk.ssh.master import Master
from tests.cli import fake_keyring
from tests.lab.accounts import PasswordHost, needs_root
from tests.lab.kernels import PATIENCE
from tests.lab.sshd import Sshd

pytestmark = pytest.mark.sshd


class Page:
    """What a page does: it looks when it is told that something has changed."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self.logins = Logins(self._changed.set)

    async def until(self, wanted: Callable[[], Any]) -> None:
        while not wanted():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), PATIENCE)

    async def question(self, login: Login, number: int) -> Question:
        """Wait for the question with that number."""
        await self.until(
            lambda: login.is_over or (login.question and login.question.number >= number)
        )
        assert login.question is not None, login.error
        return login.question

    async def over(self, login: Login) -> None:
        await self.until(lambda: login.is_over)


@pytest.fixture(scope="module")
def host() -> Iterator[PasswordHost]:
    needs_root()
    host = PasswordHost("AuthenticationMethods password", "PasswordAuthentication yes")
    yield host
    host.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def disconnect(destination: Destination) -> None:
    assert await Master(destination).exit()


def test_a_password(
    host: PasswordHost,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.cli.fake_keyring.Fake")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("FAKE_KEYRING", str(tmp_path / "keyring"))
    caplog.set_level(logging.DEBUG)
    told: list[str] = []

    async def log_in() -> None:
        page = Page()
        to = Destination("login", None, host.config)
        login = page.logins.begin(to)
        assert page.logins.begin(to) is login  # however many pages there are
        first = await page.question(login, 0)
        assert (first.is_again, first.to_json()["secret"]) == (False, True)
        assert f"{host.user}@127.0.0.1's password:" in first.text
        assert not login.answer(1, "early", keep=False)
        assert login.answer(0, "wrong", keep=False)
        assert not login.answer(0, "twice", keep=False)
        second = await page.question(login, 1)
        assert second.is_again
        assert login.answer(1, host.password, keep=True)
        told.append(f"{second!r} {vars(login)} {page.logins.now()}")
        await page.over(login)
        assert login.error is None
        told.append(f"{vars(login)} {page.logins.now()}")
        await disconnect(to)

    run(log_in())
    assert fake_keyring.read() == {f"sshpyk {host.user}@127.0.0.1": host.password}
    assert host.password not in "".join(told) + caplog.text

    async def again() -> None:
        page = Page()
        login = page.logins.begin(Destination("login", None, host.config))
        await page.over(login)
        assert login.error is None  # the keyring knew
        await disconnect(login.destination)

    run(again())


def test_a_login_that_is_given_up(host: PasswordHost) -> None:
    async def work() -> None:
        page = Page()
        login = page.logins.begin(Destination("login", None, host.config))
        await page.question(login, 0)
        login.task.cancel()
        await page.over(login)
        assert isinstance(login.error, errors.LoginNotFinished)
        assert login.question is None
        assert Master(login.destination).identity() is None
        again = page.logins.begin(login.destination)
        assert again is not login
        again.task.cancel()
        await page.over(again)

    run(work())


def test_two_questions_in_a_row() -> None:
    needs_root()
    methods = "AuthenticationMethods password,keyboard-interactive"
    host = PasswordHost(methods, "PasswordAuthentication yes", "UsePAM yes")

    async def work() -> None:
        page = Page()
        login = page.logins.begin(Destination("login", None, host.config))
        await page.question(login, 0)
        assert login.answer(0, host.password, keep=False)
        second = await page.question(login, 1)
        assert "Password:" in second.text
        assert login.answer(1, host.password, keep=False)
        await page.over(login)
        assert login.error is None
        await disconnect(login.destination)

    try:
        run(work())
    finally:
        host.close()


def test_a_changed_key_is_refused_and_nothing_is_asked(sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    other = sshd.identity.with_suffix(".pub").read_text()
    known.write_text(f"[127.0.0.1]:* {other}")
    config = tmp_path / "config"
    lines = (f'UserKnownHostsFile "{known}"', "StrictHostKeyChecking ask")
    config.write_text(sshd.config_text("changed", lines))

    async def work() -> None:
        page = Page()
        login = page.logins.begin(Destination("changed", None, str(config)))
        await page.over(login)
        assert isinstance(login.error, errors.HostKeyChanged)
        assert "The key of changed is not the one you know" in login.error.what

    run(work())
    assert known.read_text() == f"[127.0.0.1]:* {other}"
