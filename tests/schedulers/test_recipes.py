"""docs/slurm.rst is true: its commands and its cell are run here as they stand there.

SSHPYK_DASHBOARDS is the path of a Python that has Dask, see tests/ports/test_dashboards.py.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL

from sshpyk.demo import sandbox
from sshpyk.transport import openssh
from tests.cli.conftest import Call, config_of, names, sshpyk
from tests.cli.test_connect import SSHPYK
from tests.lab.kernels import PATIENCE, run_code, started, write_spec
from tests.lab.slurm import Slurm, login_node
from tests.lab.sshd import Sshd
from tests.lab.terminal import Terminal
from tests.ports.test_dashboards import PYTHON

__all__ = ["sshpyk"]  # a fixture

pytestmark = pytest.mark.sshd

PAGE = (Path(__file__).parents[2] / "docs" / "slurm.rst").read_text("utf-8")

BEFORE, LIFE = "Kernels in a cluster's queue: Slurm", "Its life"
GPU = "One GPU for an afternoon"
DASK = "Many processors for a Dask scheduler"
MODULES = "A login node with modules and two factors"


def blocks(title: str) -> list[str]:
    """The literal blocks of the page's section `title`, up to the next heading."""
    _, heading, rest = PAGE.partition(f"{title}\n{len(title) * UNDER[title]}\n")
    assert heading, title
    section = re.split(r"\n\S[^\n]*\n(?:===+|---+)\n", rest)[0]
    found = re.findall(r"::\n\n((?:    .*\n|\n)+)", section + "\n")
    return ["\n".join(line[4:] for line in block.strip("\n").splitlines()) for block in found]


#: What headings are underlined with.
UNDER = {BEFORE: "=", LIFE: "-", GPU: "-", DASK: "-", MODULES: "-"}


def test_no_command_of_the_page_is_left_out() -> None:
    titles = re.findall(r"^(\S.*)\n(?:=+|-+)$", PAGE, re.MULTILINE)
    assert [title for title in titles if title in UNDER] == list(UNDER)
    ours = sum(len(blocks(title)) for title in UNDER)
    assert ours == len(re.findall(r"::\n\n    ", PAGE))


@pytest.fixture
def home(remote_home: Path) -> Path:
    """A home directory on the cluster, which has a kernel."""
    return with_kernel(remote_home, sys.executable)


def with_kernel(home: Path, python: str) -> Path:
    """The home directory, with a kernelspec for a Python."""
    spec = home / ".local/share/jupyter/kernels/python3"
    spec.mkdir(parents=True, exist_ok=True)
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    content = {"argv": argv, "display_name": "Python 3", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(content))
    return home


@pytest.fixture
def typed(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the ssh is put that knows the page's hosts, as a person's own configuration has it."""
    own = short_tmp / "bin"
    own.mkdir()
    monkeypatch.setenv("PATH", f"{own}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_tmp))
    (short_tmp / "sshpyk").mkdir(0o700)
    openssh.forget_all()  # as in a new process
    return own


def lead(directory: Path, config: Path) -> None:
    """Have `ssh` read the configuration."""
    ssh = directory / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    ssh.chmod(0o755)


@pytest.fixture
def cluster_host(slurm: Slurm, home: Path, typed: Path) -> Iterator[Sshd]:
    """The login node `cluster`."""
    with login_node(slurm, home, host="cluster") as login:
        lead(typed, login.ssh_config)
        yield login


def words(command: str) -> list[str]:
    """What is typed behind `sshpyk`."""
    name, *rest = shlex.split(command)
    assert name == "sshpyk"
    return rest


def add(command: str) -> tuple[str, str]:
    """Type a command that adds a kernel, and choose the first; its name, and what was said."""
    before = names()
    with Terminal([*SSHPYK, *words(command)]) as terminal:
        terminal.expect("Which")
        terminal.type("1")
        terminal.type("")  # the name that it proposes
        assert terminal.end() == 0, terminal.text
    (name,) = set(names()) - set(before)
    return name, terminal.text


SEEN = "import os; print(os.environ['SLURM_JOB_ID'], os.environ['CUDA_VISIBLE_DEVICES'])"


def test_one_gpu_for_an_afternoon(slurm: Slurm, cluster_host: Sshd, sshpyk: Call) -> None:
    ((first,), (look,)) = (blocks(title) for title in (BEFORE, LIFE))
    _, said = add(first.replace("LOGIN", "cluster"))
    assert "would take it: using 1 processors on nodes n1 in partition gpu" in said
    assert slurm.jobs() == {}

    (ours, ask) = blocks(GPU)
    name, said = add(ours)
    assert "would take it: using 8 processors on nodes n1 in partition gpu" in said
    start, show = ask.splitlines()
    begun = sshpyk(*words(start))
    assert begun.status == 0, begun.err
    (job,) = slurm.jobs()
    slurm.until_running(job)
    shown = sshpyk(*words(show))
    assert re.search(rf"afternoon +cluster +{job} +running +n1 +gpu +gres:gpu:1 +\d", shown.out)
    with started(name) as (_, client), started(name) as (_, other):
        assert run_code(client, SEEN) == f"{job} 0\n"
        assert run_code(other, SEEN) == f"{job} 0\n", "they share it"
        memory = "import os; print(os.environ['SLURM_MEM_PER_NODE'], os.cpu_count() > 0)"
        assert run_code(client, memory) == "32768 True\n"
        allocations, ps = look.splitlines()
        assert sshpyk(*words(allocations)).out.count("gres:gpu:1") == 1
        told = sshpyk(*words(ps))
        assert told.out.count("slurm:afternoon on cluster") == 2
        assert f"slurm:afternoon: job {job}, running on n1, gres:gpu:1, " in told.err
    # By the newer option, and more than are free.
    write_spec("two", cluster_host, slurm="gpus=2", allocation="two")
    assert sshpyk("allocations", "start", "two").status == 0
    rows = {row["name"]: row for row in sshpyk("allocations", "--json").json}
    assert [rows[name]["gpus"] for name in ("afternoon", "two")] == ["gres:gpu:1", "gres:gpu:2"]
    assert rows["two"]["state"] == "pending"


@pytest.mark.slow
@pytest.mark.skipif(
    not PYTHON, reason="SSHPYK_DASHBOARDS names no Python with Dask and TensorBoard"
)
def test_many_processors_for_a_dask_scheduler(
    slurm: Slurm,
    remote_home: Path,
    typed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # for the logs of the workers
    (ours, cell) = blocks(DASK)
    with login_node(slurm, with_kernel(remote_home, PYTHON), host="cluster") as login:
        lead(typed, login.ssh_config)
        name, _ = add(ours)
        with started(name) as (_, client):
            run_code(client, cell)
            run_code(client, f"client.wait_for_workers(2, timeout={PATIENCE - 10})")
            where = "client.run(lambda: __import__('os').environ['SLURMD_NODENAME']).values()"
            assert run_code(client, f"print(*sorted({where}))") == "n1 n2\n"
            assert run_code(client, "print(client.submit(sum, [40, 2]).result())") == "42\n"
            run_code(client, "workers.terminate(); print(workers.wait(60))")


#: What the second factor of `cluster` is.
CODE = "123456"


class TwoFactors(sandbox._Connection):
    """Wants a key, then a code."""

    has_key = False
    logins = 0

    def get_allowed_auths(self, username: str) -> str:
        return "keyboard-interactive" if self.has_key else "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if super().check_auth_publickey(username, key) != AUTH_SUCCESSFUL:
            return AUTH_FAILED
        self.has_key = True
        return AUTH_PARTIALLY_SUCCESSFUL

    def check_auth_interactive(
        self, username: str, submethods: str
    ) -> int | paramiko.server.InteractiveQuery:
        return paramiko.server.InteractiveQuery("", "", ("Verification code: ", False))

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        if not self.has_key or responses != [CODE]:
            return AUTH_FAILED
        type(self).logins += 1
        return AUTH_SUCCESSFUL


@pytest.fixture
def two_factors(
    slurm: Slurm, home: Path, typed: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[sandbox.Sandbox]:
    """The login node `cluster`, which wants a code and has modules."""
    modules = home / "modules"
    for name in ("python/3.11", "cuda"):
        file = modules / name
        file.parent.mkdir(parents=True, exist_ok=True)
        loaded = re.sub(r"\W", "_", name).upper()
        file.write_text(f"#%Module1.0\nsetenv LOADED_{loaded} yes\n")
    (home / ".bash_profile").write_text(f"module use {modules}\n")
    monkeypatch.setattr(sandbox, "_Connection", TwoFactors)
    monkeypatch.setattr(sandbox.Sandbox, "host", "cluster")
    own = {"HOME": str(home), "PATH": f"{slurm.bin}:{os.environ['PATH']}"}
    with sandbox.Sandbox(shell="/bin/bash", environment=own) as login:
        config = login.ssh_config.read_text()
        login.ssh_config.write_text(
            config.replace("publickey\n", "publickey,keyboard-interactive\n")
        )
        lead(typed, login.ssh_config)
        yield login


def test_a_login_node_with_modules_and_two_factors(
    slurm: Slurm, two_factors: sandbox.Sandbox, sshpyk: Call
) -> None:
    if not Path("/etc/profile.d/modules.sh").exists():
        pytest.skip("there are no modules here (apt-get install environment-modules)")
    (both,) = blocks(MODULES)
    connect, ours = both.replace("\\\n", "").splitlines()
    refused = sshpyk(*words(ours))
    assert refused.status == 1
    assert f"    {connect}\n" in refused.err, "as the page says it"

    with Terminal([*SSHPYK, *words(connect)]) as terminal:
        terminal.expect("Verification code:")
        terminal.type(CODE)
        terminal.expect("cluster: connected\n")
        assert terminal.end() == 0
    name, _ = add(ours)
    assert config_of(name)["setup"] == ["module load python/3.11 cuda"]
    with started(name) as (_, client):
        loaded = "import os; print(os.environ['SLURM_JOB_ID'], os.environ['LOADEDMODULES'])"
        (job,) = slurm.jobs()
        assert run_code(client, loaded) == f"{job} python/3.11:cuda\n"
        assert run_code(client, SEEN) == f"{job} 0\n"
    assert TwoFactors.logins == 1, "once, for all"
