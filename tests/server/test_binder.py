"""A Binder: a small server that says what Binders say; what it makes is a real Jupyter Server."""

from __future__ import annotations

import pytest

from sshpyk.remotekernel import RemoteKernel, Stage, Status
from sshpyk.server import credentials, trouble
from tests.cli.conftest import Call, config_of, sshpyk
from tests.jupyter.server import Server
from tests.lab.kernels import run_code, started
from tests.server.scripted import Answer, Heard, event, scripted
from tests.server.servers import kernel_of, write_card

__all__ = ["sshpyk"]


def test_a_server_is_made_and_used_until_it_is_gone(
    far: Server, url: str, sshpyk: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.delenv("SERVER_TOKEN")
    builds: list[Heard] = []

    def answer(heard: Heard) -> Answer:
        builds.append(heard)
        told = (
            b": keepalive\n\n",
            event(phase="building", message="Step 1\n"),
            event(phase="ready", message="there", url=url, token=far.token),
        )
        return Answer(body=told, headers={"Content-Type": "text/event-stream"})

    with scripted(answer) as binder:
        link = f"{binder.url}v2/gh/some/lab/main?urlpath=lab"
        done = sshpyk("add", link, "python3", "--kernel-name", "made")
        assert done.status == 0, done.err
        build = f"{binder.url}build/gh/some/lab/main/"
        assert config_of("made") == {"server_url": build, "remote_kernel_name": "python3"}
        assert far.token not in done.err + done.out
        # The server is there still, so no other is made.
        with started("made") as (manager, client):
            assert run_code(client, "print(6 * 7)") == "42\n"
            assert kernel_of(manager).address.server.url == url
        assert [heard.path for heard in builds] == ["/build/gh/some/lab/main"]
        assert builds[0].authorization == ""
        # It is gone, as all of them are some day: its token does not do any more.
        credentials.keep(url, credentials.Secret("token", "of-one-that-is-gone"))
        seen: list[Status] = []
        update = RemoteKernel._update

        def note(kernel: RemoteKernel, **changes: object) -> None:
            update(kernel, **changes)
            seen.append(kernel.status)

        monkeypatch.setattr(RemoteKernel, "_update", note)
        with started("made") as (_, client):
            assert run_code(client, "print(6 * 7)") == "42\n"
        assert len(builds) == 2
        assert f"{Stage.SERVER.value}: building: Step 1" in [s.stage_text for s in seen]


def test_a_binder_that_fails(own_jupyter: object) -> None:
    def answer(heard: Heard) -> Answer:
        said = event(phase="failed", message="Could not resolve ref for gh:some/x/main")
        return Answer(body=(said,))

    with scripted(answer) as binder:
        write_card("none", f"{binder.url}build/gh/some/x/main/", token_env=None)
        with pytest.raises(trouble.NoBinder) as failed, started("none"):
            pass
    assert "Could not resolve ref" in str(failed.value)
    assert f"{binder.url}v2/gh/some/x/main/" in failed.value.command
