"""`sshpyk add URL`, `list` and `connect`: cards of a real server, and secrets that stay ones."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from sshpyk.errors import NeedsPerson
from sshpyk.remotekernel import State
from sshpyk.server import credentials
from tests.cli.conftest import Call, config_of, names, sshpyk, written
from tests.jupyter.server import Server
from tests.lab.kernels import PATIENCE, run_code, started
from tests.lab.link import Link
from tests.server.scripted import Answer, scripted
from tests.server.servers import kernel_of, remote, running
from tests.server.test_kernel import Follower

__all__ = ["sshpyk"]


@pytest.fixture
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")


@pytest.mark.usefixtures("no_keyring")
def test_a_pasted_url(
    far: Server, url: str, sshpyk: Call, own_jupyter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = far.token
    refused = sshpyk("add", url, "python3")
    assert refused.status == 1
    assert "wants a token or a password" in refused.err
    assert f"sshpyk connect {url}" in refused.err
    wrong = sshpyk("add", f"{url}lab?token=wrong", "python3")
    assert wrong.status == 1
    assert "does not accept the token" in wrong.err
    assert names() == []
    assert not os.path.exists(credentials.path()), "a wrong one is not kept"
    there = far.start_kernel("python3")
    done = sshpyk("add", f"{url}lab?token={token}", "python3", "--kernel-name", "far")
    assert done.status == 0, done.err
    assert config_of("far") == {"server_url": url, "remote_kernel_name": "python3"}
    assert written("far")["display_name"].endswith(f"@ {url[7:-1]}")
    assert "logo-64x64.png" in os.listdir(own_jupyter / "data/kernels/far")
    # It needs no token any more, and a kernel that runs there is a card too.
    done = sshpyk("add", url, "--kernel-id", there, "--kernel-name", "running")
    assert done.status == 0, done.err
    assert config_of("running")["persistent"] is True
    with started("running") as (_, client):
        assert run_code(client, "print(6 * 7)") == "42\n"
    assert there in running(far)  # and for a moment a helper
    assert sshpyk("doctor", "running").status == 0
    assert there in running(far), "a trial ends only its own"
    far.shut_down(there)
    listed = sshpyk("list", "--remote", "--json")
    marks = {
        (spec["name"], check["what"]): check["mark"]
        for spec in listed.json
        for check in spec["checks"]
    }
    assert marks["far", "Server Connection"] == "v"
    assert marks["far", "Remote Kernel Name"] == "v"
    assert marks["running", "Kernel"] == "!"
    unknown = sshpyk("add", url, "no-such-kernel")
    assert unknown.status == 2
    assert "names 0 of the kernels" in unknown.err
    for path in own_jupyter.rglob("*"):
        if path.is_file() and str(path) != credentials.path():
            assert token.encode() not in path.read_bytes(), path
    assert os.stat(credentials.path()).st_mode & 0o077 == 0
    assert token not in caplog.text + "".join(
        part for r in (refused, wrong, done, listed) for part in r[1:]
    )
    assert token not in repr(credentials.Secret(credentials.TOKEN, token))


@pytest.mark.usefixtures("no_keyring")
def test_a_session_leads_to_its_kernel_and_to_the_next(
    far: Server, url: str, sshpyk: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook that is open there has another kernel after its own was shut down."""
    monkeypatch.setenv("SERVER_TOKEN", far.token)
    model = {"path": "paper.ipynb", "name": "paper.ipynb", "type": "notebook"}
    status, session = far.call("POST", "sessions", {**model, "kernel": {"name": "python3"}})
    assert status == 201
    card = ("--session", "paper.ipynb", "--kernel-name", "paper", "--token-env", "SERVER_TOKEN")
    done = sshpyk("add", url, *card)
    assert done.status == 0, done.err
    with started("paper") as (_, client):
        run_code(client, "x = 6 * 7")
    there = session["kernel"]["id"]
    with started("paper") as (_, client):
        assert run_code(client, "print(x)") == "42\n"
        assert there in running(far)
    far.shut_down(there)
    with started("paper") as (_, client):
        assert run_code(client, "print('x' in globals())") == "False\n"
    status, sessions = far.call("GET", "sessions")
    (kernel,) = (s["kernel"]["id"] for s in sessions if s["path"] == "paper.ipynb")
    assert kernel in running(far), "what a session has is left"
    assert sshpyk("stop", "paper.ipynb").status == 0
    assert kernel not in running(far)


def test_the_keyring(
    far: Server, url: str, sshpyk: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keyring

    from tests.cli.fake_keyring import Fake

    monkeypatch.setenv("FAKE_KEYRING", str(tmp_path / "keyring"))
    before = keyring.get_keyring()
    keyring.set_keyring(Fake())  # type: ignore[no-untyped-call]  # keyring has no types
    try:
        monkeypatch.setattr("sshpyk.cli.servers._ask", lambda host: far.token)
        done = sshpyk("connect", url)
        assert done.status == 0, done.err
        assert "the system's keyring" in done.err
        assert far.token in (tmp_path / "keyring").read_text()
        assert not os.path.exists(credentials.path())
        assert sshpyk("add", url, "python3", "--dry-run").status == 0
    finally:
        keyring.set_keyring(before)


@pytest.mark.usefixtures("no_keyring")
@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("--token-env", "SERVER_TOKEN", ""),
        ("--token-command", "printenv SERVER_TOKEN", ""),
        ("--token-env", "NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE gives no token: it is not set"),
        ("--token-command", "false", "gives no token: its exit status is 1"),
        ("--token-command", "no-such-program", "gives no token: "),
    ],
)
def test_tokens_from_elsewhere(
    url: str, sshpyk: Call, setting: str, value: str, reason: str
) -> None:
    done = sshpyk("add", url, "python3", setting, value, "--dry-run")
    assert done.status == (2 if reason else 0), done.err
    assert reason in done.err


class Strange(BaseHTTPRequestHandler):
    """What a Jupyter Server would not say, told by the first part of the path."""

    heard: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.heard.append(f"{self.path} {self.headers.get('Authorization', '')}")
        kind = self.path.split("/")[1]
        status, headers, body = {
            "html": (200, {"Content-Type": "text/html"}, b"<html>hello"),
            "list": (200, {}, b"[]"),
            "deep": (200, {}, b"[" * 100_000),
            "gone": (404, {}, b"nothing"),
            "asleep": (424, {}, b"<html>"),
            "proxy": (502, {}, b"<html>"),
            "sso": (302, {"Location": "/elsewhere/login?next=x"}, b""),
            "quota": (500, {}, b'{"message": "Quota: 3 of 3 kernels"}'),
            "elsewhere": (200, {}, b'{"kernelspecs": {}}'),
        }[kind]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.usefixtures("no_keyring")
def test_what_is_no_jupyter_server(sshpyk: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_TOKEN", "s3cret")
    answers = ThreadingHTTPServer(("127.0.0.1", 0), Strange)
    thread = Thread(target=answers.serve_forever)
    thread.start()
    base = f"http://127.0.0.1:{answers.server_port}"
    said = {
        "html": "no Jupyter Server: it answers in text/html, not in JSON",
        "list": "no Jupyter Server: its /api/kernelspecs has no kernelspecs",
        "deep": "no Jupyter Server",
        "gone": "no Jupyter Server: there is no /api/kernelspecs",
        "asleep": "does not run, or does not answer its proxy (HTTP 424)",
        "proxy": "does not run, or does not answer its proxy (HTTP 502)",
        "sso": "sends us on to /elsewhere/login",
        "quota": "Quota: 3 of 3 kernels",
    }
    try:
        for kind, text in said.items():
            done = sshpyk("add", f"{base}/{kind}/", "--all", "--token-env", "SERVER_TOKEN")
            assert done.status == 1
            assert text in done.err, done.err
            assert "s3cret" not in done.err + done.out
        assert not any(line.startswith("/elsewhere") for line in Strange.heard), "not followed"
    finally:
        answers.shutdown()
        thread.join()
        answers.server_close()
    refused = sshpyk("add", base, "--all")
    assert "refused the connection" in refused.err
    no_tls = sshpyk("add", f"{base.replace('http:', 'https:')}/", "--all")
    assert no_tls.status == 1


def test_a_run_that_is_left_is_collected(
    far: Server, url: str, sshpyk: Call, own_jupyter: Path, tmp_path: Path
) -> None:
    """Its server does not know what it has printed; its agent does, and a file here knows that."""
    card = ("--kernel-name", "far", "--token-env", "SERVER_TOKEN")
    assert sshpyk("add", url, "python3", *card).err
    script, notebook = tmp_path / "script.py", tmp_path / "out.ipynb"
    script.write_text("print(6 * 7)")
    begun = sshpyk("run", "--detach", "--on", "far", str(script), "--output", str(notebook))
    assert begun.status == 0, begun.err
    id = begun.err.rpartition("sshpyk collect ")[2].split()[0]
    deadline = time.monotonic() + PATIENCE
    while "42" not in (notebook.read_text() if notebook.exists() else ""):
        assert time.monotonic() < deadline
        assert sshpyk("collect", id, str(notebook)).status == 0
    rows = sshpyk("ps", "--json").json
    (left,) = (row["id"] for row in rows if row["name"].startswith("sshpyk-"))
    assert "attachment" in sshpyk("logs", "--agent", left).out
    assert len(list(own_jupyter.rglob("sshpyk-kernel-*.json"))) == 1
    assert sshpyk("stop", left).status == 0
    assert not list(own_jupyter.rglob("sshpyk-kernel-*.json")), "it leads nowhere any more"


def test_commands_about_kernels(
    far: Server, url: str, sshpyk: Call, own_jupyter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ("--kernel-name", "far", "--token-env", "SERVER_TOKEN", "--server-way", "plain")
    assert sshpyk("add", url, "python3", *plain).err
    id = far.start_kernel("python3")
    (row,) = sshpyk("ps", "--json").json
    assert (row["id"], row["host"], row["kernelspec"]) == (id, url[7:-1], "python3")
    assert row["state"] == "detached"
    assert row["pid"] is None
    assert id[:8] in sshpyk("ps", url).out
    with far.connect(id) as notebook:
        notebook.run("pass")  # one that has not come up yet would end by an interrupt
    assert sshpyk("interrupt", id).out == f"{id[:8]} on {url[7:-1]}: interrupted\n"
    for words in (("top", url), ("collect", id, "no.ipynb"), ("port", id, "1")):
        assert sshpyk(*words).status in (1, 2), words
    nothing = sshpyk("logs", "no-such-kernel")
    assert nothing.err.endswith(f"    sshpyk ps {url}\n"), "not the host of that name"
    server = sshpyk("interrupt", f"{url}?token=s3cret")
    assert f"{url} is a Jupyter Server, and no kernel" in server.err
    assert "s3cret" not in server.err
    refused = sshpyk("logs", id[:6])
    assert "The output of kernels is kept on hosts" in refused.err
    assert f"sshpyk browse {url}" in refused.err
    walked = sshpyk("doctor", "far", "--json")
    assert walked.status == 0, walked.out
    steps = {step["what"]: step["mark"] for step in walked.json[0]["steps"]}
    names = ("Server", "Login", "Remote Kernel Name", "Kernels", "Trial Launch", "Kernel Speed")
    assert steps == dict(zip(names, "vvvivi", strict=True))
    assert sshpyk("stop", id[:6]).out == f"{id[:8]} on {url[7:-1]}: stopped\n"
    assert running(far) == []
    monkeypatch.setenv("SERVER_TOKEN", "expired")
    walked = sshpyk("doctor", "far", "--json")
    assert [step["mark"] for step in walked.json[0]["steps"]] == list("vx???")
    assert "does not accept the token" in walked.json[0]["steps"][1]["text"]
    trouble = sshpyk("ps", url)
    assert trouble.status == 1
    assert "does not accept the token" in trouble.err


def test_options_of_hosts_are_refused(sshpyk: Call) -> None:
    done = sshpyk("add", "https://h.org/", "--setup", "module load x")
    assert done.status == 2
    assert "--setup is about hosts" in done.err
    for option in ("--slurm=time=1", "--server=8888"):
        done = sshpyk("add", "https://h.org/", option)
        assert done.status == 2
        assert f"{option.partition('=')[0]} is about hosts" in done.err
    done = sshpyk("add", "https://h.org/", "--no-check", "--remote-kernel-name", "python3")
    assert done.status == 0, done.err
    (name,) = names()
    assert config_of(name) == {"server_url": "https://h.org/", "remote_kernel_name": "python3"}


def test_a_file_of_tokens_that_others_can_read_is_not_used(
    own_jupyter: Path, no_keyring: None
) -> None:
    path = Path(credentials.keep("https://h.org/", credentials.Secret("token", "abc")))
    assert json.loads(path.read_text()) == {"https://h.org/": ["token", "abc"]}
    path.chmod(0o644)
    code = (
        "import asyncio\nfrom sshpyk.server import address, credentials\n"
        "print(asyncio.run(credentials.get(address.ServerAddress('https://h.org/'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"others\s+can\s+read\s+it", done.stderr)


@pytest.mark.usefixtures("no_keyring")
def test_answers_without_end(sshpyk: Call) -> None:
    """No more is read than any list of kernelspecs has."""
    piece = b" " * (1 << 20)
    sent = []

    def pieces() -> Iterator[bytes]:
        for _ in range(2048):
            sent.append(len(piece))
            yield piece

    with scripted(lambda heard: Answer(body=pieces())) as server:
        done = sshpyk("add", server.url, "--all")
    assert done.status == 1
    assert "does not answer" in done.err or "no Jupyter Server" in done.err
    assert sum(sent) < 100 * len(piece)


@pytest.mark.usefixtures("no_keyring")
def test_a_password(tmp_path: Path, sshpyk: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_server.auth.security import passwd

    hashed = passwd("let me in", "sha1")  # type: ignore[no-untyped-call]  # upstream's
    option = f"--PasswordIdentityProvider.hashed_password={hashed}"
    with remote(tmp_path, option, "--ServerApp.base_url=/deep/er/") as server:
        url = f"http://127.0.0.1:{server.port}/deep/er/"
        monkeypatch.setattr("sshpyk.cli.servers._ask", lambda host: "let me out")
        wrong = sshpyk("connect", url)
        assert wrong.status == 1
        assert "does not accept the token or password" in wrong.err
        assert not os.path.exists(credentials.path())
        monkeypatch.setattr("sshpyk.cli.servers._ask", lambda host: "let me in")
        done = sshpyk("connect", url)
        assert done.status == 0, done.err
        assert "The password is kept" in done.err
        assert sshpyk("add", url, "python3", "--kernel-name", "deep").status == 0
        with started("deep") as (_, client):
            assert run_code(client, "print(6 * 7)") == "42\n"


@pytest.mark.usefixtures("no_keyring")
def test_a_token_that_has_expired(
    far: Server, url: str, link: Link, sshpyk: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel waits for another, which `sshpyk connect` gets."""
    monkeypatch.setattr("sshpyk.server.kernel.FOR_A_PERSON", 0.2)
    expired = credentials.Secret(credentials.TOKEN, "expired")
    words = ("--kernel-name", "far", "--server-way", "plain")
    assert sshpyk("add", f"{url}?token={far.token}", "python3", *words).status == 0
    with started("far") as (manager, client):
        follower = Follower(manager)
        credentials.keep(url, expired)
        kernel_of(manager).server._secret = expired  # as if the server took it no more
        link.cut()
        with follower._changed:
            assert follower._changed.wait_for(
                lambda: isinstance(follower.kernel.status.trouble, NeedsPerson), PATIENCE
            )
        assert manager.is_alive()
        assert follower.kernel.status.to_json()["needs_person"]
        back = Thread(target=follower.until, args=(State.CONNECTED,))
        back.start()
        monkeypatch.setattr("sshpyk.cli.servers._ask", lambda host: far.token)
        assert sshpyk("connect", url).status == 0
        back.join(PATIENCE)
        assert run_code(client, "print(6 * 7)") == "42\n"
