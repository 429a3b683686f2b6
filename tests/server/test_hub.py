"""Servers of a real JupyterHub: started where they do not run, and not taken for dead then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sshpyk import errors
from sshpyk.remotekernel import Stage, State, Status
from sshpyk.server import trouble
from tests.cli.conftest import Call, config_of, sshpyk
from tests.faults.record import Watched
from tests.lab.kernels import remote_kernel_of, run_code, started, until, until_status
from tests.lab.link import Link
from tests.server.hub import Hub
from tests.server.scripted import SPECS, Answer, Heard, event, scripted
from tests.server.servers import write_card
from tests.server.test_carried import agents
from tests.server.test_kernel import Follower

__all__ = ["sshpyk"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with nobody in it."""
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


def test_a_server_that_does_not_run_is_started(
    hub: Hub, sshpyk: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    token = hub.add_user("me")
    wrong = sshpyk("add", f"{hub.url}hub/home?token=wrong", "python3")
    assert "does not accept the token" in wrong.err
    may_not = hub.token_of("me", scopes=["access:servers!user=me", "read:users!user=me"])
    done = sshpyk("add", f"{hub.url}hub/home?token={may_not}", "python3")
    assert "the token kept for it may not start it" in done.err
    assert f"{hub.url}hub/spawn/me" in done.err
    assert hub.servers_of("me") == {}
    # A Hub's own address is enough: it knows whose token that is.
    home = f"{hub.url}hub/home?token={token}"
    done = sshpyk("add", home, "python3", "--kernel-name", "mine", "--server-way", "plain")
    assert done.status == 0, done.err
    assert config_of("mine")["server_url"] == f"{hub.url}user/me/"
    assert hub.servers_of("me")[""]["ready"]
    seen: list[Status] = []
    with started("mine") as (manager, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
        follower = Follower(manager)
        hub.stop("me")
        with follower._changed:
            assert follower._changed.wait_for(
                lambda: isinstance(follower.kernel.status.trouble, trouble.ServerStopped), 60
            )
        assert follower.kernel.status.state is State.AWAY
        assert manager.is_alive(), "that its server does not run is no word about a kernel"
        listed = sshpyk("list", "--remote")
        assert "(!) Server Connection: The server" in listed.out
        assert hub.servers_of("me") == {}, "to look is not to start"
        # A person who starts the kernel again wants the server; which knows then that it is gone.
        follower.kernel.subscribe(seen.append)
        with pytest.raises(errors.KernelGone):
            manager.restart_kernel(now=True)
        said = [s.stage_text for s in seen if s.stage is Stage.SERVER]
        assert f"{Stage.SERVER.value}: size None (40 %)" in said
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=60)
        assert run_code(client, "print(6 * 7)") == "42\n"
    # What is for a named server that does not run comes to the default one, which knows nothing.
    done = sshpyk("add", f"{hub.url}user/me/second/?token={token}", "python3")
    assert done.status == 0, done.err
    assert hub.servers_of("me")["second"]["ready"]


def test_a_named_server_and_what_its_hub_asks_for(
    hub: Hub, own_jupyter: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_TOKEN", hub.add_user("you@x.org"))
    url = f"{hub.url}user/you@x.org/second/"
    write_card("huge", url, server_options={"size": "huge"})
    with pytest.raises(trouble.NotStarted) as failed, started("huge"):
        pass
    assert "Your quota is used up." in str(failed.value)
    assert "sshpyk edit huge --server-options NAME=VALUE" in str(failed.value)
    with Link(hub.port) as link:
        url = f"http://127.0.0.1:{link.port}/base/user/you@x.org/second/"
        write_card("small", url, server_options={"size": "small"}, server_way="carried")
        with started("small") as (_, client), Watched(client) as watched:
            watched.run("import os, time; print(os.environ['JUPYTERHUB_SERVER_NAME'])")
            assert watched.lines == ["second"]
            # The Hub's own proxy is between, and what was on the way there is not lost either.
            id = watched.start("for n in range(50): print(n, flush=True); time.sleep(0.03)")
            watched.wait(lambda: "9" in watched.lines)
            assert link.cut() > 0
            watched.finish(id)
            assert watched.lines[1:] == [*map(str, range(50))]
            watched.check()
    assert list(hub.servers_of("you@x.org")) == ["second"]


@pytest.mark.parametrize("way", ["carried", "plain"])
def test_a_named_server_that_stops_while_the_default_one_runs(
    hub: Hub, own_jupyter: object, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The proxy asks the default one then, which has no such kernel: that is no word about it."""
    user = f"two-{way}"
    monkeypatch.setenv("SERVER_TOKEN", hub.add_user(user))
    hub.start(user)
    write_card("second", f"{hub.url}user/{user}/second/", server_way=way)
    with started("second") as (manager, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
        until(lambda: hub.servers_of(user)[""]["ready"])
        hub.stop(user, "second")
        until_status(manager, lambda status: isinstance(status.trouble, trouble.ServerStopped))
        assert remote_kernel_of(manager).status.state is State.AWAY
        assert manager.is_alive()
        with pytest.raises(errors.KernelGone):  # its server is started for that, and says so
            manager.restart_kernel(now=True)
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=60)
        assert run_code(client, "print(6 * 7)") == "42\n"
    until(lambda: agents(hub.home(user)) == [])  # that of the first kernel, too


def test_a_hub_that_has_no_room_yet_and_a_proxy_that_cuts(
    sshpyk: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a Hub says of a queue, and where a proxy ends what it tells, is waited for."""
    monkeypatch.setenv("SERVER_TOKEN", "s3cret")
    monkeypatch.setattr("sshpyk.server.hub.LEAST_PAUSE", 0.01)
    tries = {"start": 0, "progress": 0}

    def answer(heard: Heard) -> Answer:
        is_up = tries["progress"] > 1
        if heard.path == "/hub/api/users/me/server":
            tries["start"] += 1
            if tries["start"] == 1:
                return Answer({"message": "Too many"}, 429, {"Retry-After": "0"})
            return Answer("", 202)
        if heard.path == "/hub/api/users/me/server/progress":
            tries["progress"] += 1
            told = (
                event(progress=100, ready=True)
                if is_up or tries["progress"] > 1
                else event(progress=50, message="pulling")
            )
            return Answer(body=(told,), headers={"Content-Type": "text/event-stream"})
        if heard.path.startswith("/user/me/api/") and is_up:
            return Answer(SPECS if heard.path.endswith("kernelspecs") else [])
        if heard.path.startswith("/user/me/api/"):
            return Answer(None, 302, {"Location": f"/hub{heard.path}"})
        return Answer(None, 404)

    with scripted(answer) as server:
        url = f"{server.url}user/me/"
        done = sshpyk("add", url, "--all", "--token-env", "SERVER_TOKEN", "--server-options", "a=b")
    assert done.status == 0, done.err
    assert tries == {"start": 2, "progress": 2}
    assert {one.authorization for one in server.heard} == {"token s3cret"}
    assert [one.content for one in server.heard if one.method == "POST"] == [{"a": "b"}] * 2
