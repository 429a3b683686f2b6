"""What a user writes stays what it is: no option of ssh's, no code for any shell."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call, config_of, kernels, names
from tests.cli.hosts import RichHost, environment
from tests.lab.kernels import run_code, started
from tests.lab.sshd import Sshd

#: Would make a file `touched` in the directory that stands for {here}.
PAYLOADS = [
    "-oProxyCommand=touch {here}/touched",
    "-o ProxyCommand=touch${{IFS}}{here}/touched",
    "--",
    "-J-oProxyCommand=touch {here}/touched",
    "$(touch {here}/touched)",
    "`touch {here}/touched`",
    "a;touch {here}/touched",
    "a&&touch {here}/touched",
    "a|touch {here}/touched",
    "a\ntouch {here}/touched",
    "a\rtouch {here}/touched",
    "'; touch {here}/touched; '",
    '"; touch {here}/touched; "',
    "\\'; touch {here}/touched; #",
    "!touch {here}/touched",
    "${{PATH}}",
    "%h %p",
    "a\0b",
    "../../../../{here}/touched",
    "ä $'\\n'touch {here}/touched",
]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    path = tmp_path / "here"
    path.mkdir()
    return path


#: Where a payload is given: {payload} stands for it.
HOST_WAYS = [
    ("add", "{payload}", "--all"),
    ("add", "--ssh-host-alias={payload}", "--remote-python", "/p", "--remote-kernel-name", "k"),
    ("connect", "{payload}"),
    ("disconnect", "{payload}"),
    ("doctor", "{payload}", "--no-launch"),
    ("edit", "mine", "--ssh-host-alias={payload}"),
]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("words", HOST_WAYS, ids=lambda words: " ".join(words[:2]))
def test_a_host_is_never_an_option_or_code(
    words: tuple[str, ...], payload: str, here: Path, tmp_path: Path, sshpyk: Call
) -> None:
    # Whatever gets as far as ssh is for a port where nobody is.
    config = tmp_path / "config"
    config.write_text("Host *\n  HostName 127.0.0.1\n  Port 1\n")
    add = ("add", "--no-check", "--ssh-host-alias", "h", "--remote-kernel-name", "k")
    assert sshpyk(*add, "--kernel-name", "mine").status == 0
    filled = [word.format(payload=payload.format(here=here)) for word in words]
    result = sshpyk(*filled, *(("--ssh-config", str(config)) if words[0] != "edit" else ()))
    assert result.status in ((0, 1, 2) if words[0] in ("edit", "disconnect") else (1, 2))
    assert "Traceback" not in result.err
    assert list(here.iterdir()) == []
    assert names() == ["mine"]


#: Options whose values are on the command line that the host's shell reads.
SHELL_WAYS = [
    ("--remote-python={payload}", "--remote-kernel-name", "python3"),
    ("--remote-python-prefix={payload}", "--remote-kernel-name", "python3"),
    (
        *("--remote-pythonhome={payload}", "--remote-python", "/no/python"),
        *("--remote-kernel-name", "python3"),
    ),
]

#: One whose value travels behind it, where no shell reads it, whichever it is.
REMOTE_WAYS = [
    *SHELL_WAYS,
    ("--remote-python", sys.executable, "--remote-kernel-name={payload}"),
]


@pytest.mark.sshd
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "/bin/tcsh", "/usr/bin/fish"])
def test_paths_and_names_are_no_code_for_any_shell(
    shell: str, here: Path, tmp_path: Path, sshpyk: Call
) -> None:
    if not Path(shell).exists():
        pytest.skip(f"there is no {shell} here")
    home = tmp_path / "home"
    home.mkdir()
    with Sshd(home=home, shell=shell) as sshd:
        for words in REMOTE_WAYS if shell == "/bin/sh" else SHELL_WAYS:
            for payload in PAYLOADS:
                filled = [word.format(payload=payload.format(here=here)) for word in words]
                result = sshpyk("add", "sshd", "--ssh-config", str(sshd.ssh_config), *filled)
                assert result.status in (1, 2), (filled, result)
                assert "Traceback" not in result.err, filled
                assert list(here.iterdir()) == [], filled
    assert names() == []


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_on_this_machine(payload: str, here: Path, sshpyk: Call) -> None:
    text = payload.format(here=here)
    add = ("add", "--no-check", "--ssh-host-alias", "h", "--remote-kernel-name", "k")
    assert sshpyk(*add, f"--kernel-name={text}").status == 2
    assert sshpyk("delete", text).status == 2
    assert sshpyk("edit", text, "--env", "A=1").status == 2
    assert names() == []
    result = sshpyk(*add, "--kernel-name", "mine", f"--display-name={text}")
    if text == "--" or any(ord(character) < 32 for character in text):
        assert result.status == 2
    else:
        content = json.loads((kernels() / "mine/kernel.json").read_text("utf-8"))
        assert content["display_name"] == text
    assert list(here.iterdir()) == []


VALUES = ["$(touch {here}/touched)", "`x`", "'; x; '", '"', "a\nb", "ä ö", "!x", "\\", "-o", "%d"]


@pytest.mark.sshd
def test_values_reach_the_kernel_as_they_are(
    rich: RichHost, sshpyk: Call, here: Path, tmp_path: Path
) -> None:
    values = [value.format(here=here) for value in VALUES]
    environment = [word for n, value in enumerate(values) for word in ("--env", f"V{n}={value}")]
    # A setup line puts the kernel behind a shell, where the same must hold.
    for setup in ((), ("--setup", "true")):
        words = ("add", "rich", "ml", "--ssh-config", rich.config, "--kernel-name", "mine")
        result = sshpyk(*words, *environment, *setup, "--replace")
        assert result.status == 0, result.err
        assert list(config_of("mine")["env"].values()) == values
        with started("mine") as (_, client):
            code = f"import os; print([os.environ[f'V{{n}}'] for n in range({len(values)})])"
            assert run_code(client, code) == f"{values}\n"
    assert list(here.iterdir()) == []


@pytest.mark.sshd
def test_an_environment_with_an_awkward_path(
    sshd: Sshd, remote_home: Path, sshpyk: Call, here: Path
) -> None:
    name = f"a b'$(touch {shlex.quote(str(here / 'x')).replace('/', '_')})\"ä"
    python = environment(remote_home / ".virtualenvs" / name, with_ipykernel=True)
    words = ("--ssh-config", str(sshd.ssh_config), "--kernel-name", "mine")
    result = sshpyk("add", "sshd", name, *words)
    assert result.status == 0, result.err
    assert config_of("mine")["remote_python"] == str(python)
    with started("mine") as (_, client):
        assert run_code(client, "import sys; print(sys.prefix)") == f"{python.parent.parent}\n"
    assert list(here.iterdir()) == []
