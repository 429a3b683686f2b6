"""Kernels that the host does not have, or that end before they are ready."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

from sshpyk import errors
from tests.lab.kernels import run_code, started, write_spec
from tests.starts.conftest import NewServer, Server

pytestmark = pytest.mark.sshd


def install(home: Path, name: str, *argv: str, **content: object) -> None:
    """Put a kernelspec into a home."""
    directory = home / ".local" / "share" / "jupyter" / "kernels" / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "kernel.json").write_text(json.dumps({"argv": argv, **content}))


def test_no_such_kernelspec(server: Server) -> None:
    install(server.home, "Fortran", "fortran")
    said = server.starting_fails(errors.NoKernelspec, remote_kernel_name="cobol")
    assert said.startswith("There is no kernelspec cobol on sshd; there are: ")
    there = said.partition("there are: ")[2].partition(". Set `remote_kernel_name`")[0]
    assert {"fortran", "python3"} <= set(there.split(", "))
    # The advice is for the card whose kernel did not start.
    assert "sshpyk edit failing --remote-kernel-name KERNELSPEC" in said


def test_no_kernelspec_at_all(new_server: NewServer, tmp_path: Path) -> None:
    # A Python outside of every environment, without Jupyter.
    python = tmp_path / "it's a" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"""#!/bin/sh
        for word; do last=$word; done
        exec {sys.executable} -I -S -c "import os, sys, sysconfig
sys.executable = sys.prefix = sys.base_prefix = '/nowhere/bin/python'
listdir = os.listdir
os.listdir = lambda path: [] if path.startswith('/usr') else listdir(path)
$last"
        """
    )
    python.chmod(0o700)
    server = new_server(environment={"PATH": "/bin"})
    said = server.starting_fails(errors.NoKernelspecs, remote_python=str(python))
    assert said.startswith("There is no kernelspec python3 on sshd, nor any other that ")
    words = shlex.split(said.partition("or install one: ")[2])
    assert words[:-1] == ["ssh", "-F", str(server.ssh_config), "sshd"]
    assert shlex.split(words[-1]) == [str(python), "-m", "pip", "install", "ipykernel"]


def test_no_ipykernel(server: Server) -> None:
    # Without site (-S) an environment's Python does not see what is installed there.
    install(server.home, "bare", sys.executable, "-S", "-I", "-m", "ipykernel_launcher")
    said = server.starting_fails(errors.KernelDied, remote_kernel_name="bare")
    assert said.startswith("The kernel bare on sshd ended while it started (exit status 1).")
    pip = f"ssh -F {server.ssh_config} sshd '{sys.executable} -m pip install ipykernel'"
    assert f"Install ipykernel there: {pip}\n" in said
    assert said.endswith(f"{sys.executable}: No module named ipykernel_launcher")


def test_a_kernel_that_dies_at_import(server: Server) -> None:
    code = "print('loading'); import no_such_module_of_mine"
    install(server.home, "broken", sys.executable, "-c", code)
    said = server.starting_fails(errors.KernelDied, remote_kernel_name="broken")
    assert "ended while it started (exit status 1). Its last output says why:\n" in said
    assert said.endswith("ModuleNotFoundError: No module named 'no_such_module_of_mine'")


def test_a_kernel_that_is_killed(server: Server) -> None:
    install(server.home, "killed", "/bin/sh", "-c", "echo loading >&2; kill -9 $$")
    said = server.starting_fails(errors.KernelDied, remote_kernel_name="killed")
    assert "ended while it started (killed (signal 9), nobody knows by whom" in said
    assert said.endswith("loading")


def test_a_kernel_that_ends_without_a_word(server: Server) -> None:
    install(server.home, "silent", "/bin/true")
    said = server.starting_fails(errors.KernelDied, remote_kernel_name="silent")
    assert "(exit status 0). It wrote nothing. " in said


def test_what_only_stdout_was_told_is_shown(server: Server) -> None:
    install(server.home, "loud", "/bin/sh", "-c", "echo 'no licence'; exit 3")
    said = server.starting_fails(errors.KernelDied, remote_kernel_name="loud")
    assert said.endswith("no licence")


def test_a_kernel_that_never_opens_its_sockets(server: Server) -> None:
    code = "import sys, time; print('waiting for a licence', file=sys.stderr); time.sleep(60)"
    install(server.home, "slow", sys.executable, "-c", code)
    said = server.starting_fails(errors.LaunchTimeout, remote_kernel_name="slow", launch_timeout=3)
    assert "not ready within 3 s (waiting for the kernel to open its sockets)" in said
    assert said.endswith("waiting for a licence")


def test_a_kernel_with_children_leaves_none(server: Server) -> None:
    code = "sleep 300 & sleep 300 & echo begun >&2; exit 1"
    install(server.home, "parent", "/bin/sh", "-c", code)
    server.starting_fails(errors.KernelDied, remote_kernel_name="parent")


@pytest.mark.parametrize("program", ["/no/such/kernel", "no-such-kernel", "/etc/passwd"])
def test_a_missing_program(server: Server, program: str) -> None:
    install(server.home, "gone", program, "{connection_file}")
    said = server.starting_fails(errors.ProgramMissing, remote_kernel_name="gone")
    reason = "Permission denied" if program == "/etc/passwd" else "No such file or directory"
    assert said.startswith(
        f"The kernelspec gone on sshd starts {program}, which can't be run: {reason}."
    )


def test_a_kernelspec_that_is_no_json_does_not_count(server: Server) -> None:
    install(server.home, "odd", "x")
    path = server.home / ".local" / "share" / "jupyter" / "kernels" / "odd" / "kernel.json"
    path.write_text("{")
    said = server.starting_fails(errors.NoKernelspec, remote_kernel_name="odd")
    assert "odd," not in said.partition("there are: ")[2]


def test_setup_lines_that_fail(server: Server) -> None:
    said = server.starting_fails(
        errors.KernelDied, setup=["echo first", "module load no-such-module"]
    )
    assert "ended while it started (exit status 97: the setup lines failed)" in said
    assert "module: " in said
    assert "not found" in said
    assert "If a profile brings `module`, add --login-shell" in " ".join(said.split())


def test_setup_lines_that_exit(server: Server) -> None:
    said = server.starting_fails(errors.KernelDied, setup="echo 'no quota left' >&2; exit 4")
    assert "(exit status 4)" in said
    assert said.endswith("no quota left")


def test_setup_lines_run_before_the_kernel(server: Server) -> None:
    write_spec("set-up", server, setup=['NOTE="it\'s $HOME"', "export NOTE"], login_shell=True)
    (server.home / ".profile").write_text("export PROFILE=read\n")
    (server.home / ".bash_profile").write_text(". ~/.profile\n")
    with started("set-up") as (_, client):
        code = "import os; print(os.environ['NOTE'], os.environ['PROFILE'])"
        assert run_code(client, code) == f"it's {server.home} read\n"


def test_setup_lines_choose_the_python(server: Server) -> None:
    tools = server.home / "it's tools"
    tools.mkdir()
    (tools / "python").write_text(f'#!/bin/sh\nBROUGHT=yes exec {sys.executable} "$@"\n')
    (tools / "python").chmod(0o700)
    write_spec("brought", server, setup=['PATH="$HOME/it\'s tools:$PATH"'])
    with started("brought") as (_, client):
        assert run_code(client, "import os; print(os.environ['BROUGHT'])") == "yes\n"


def test_a_missing_directory(server: Server) -> None:
    said = server.starting_fails(errors.NoDirectory, remote_cwd="~/no/such")
    assert said.startswith(f"sshd: {server.home}/no/such is not a directory that can be entered.")


def test_a_file_for_a_directory(server: Server) -> None:
    (server.home / "file").write_text("")
    server.starting_fails(errors.NoDirectory, remote_cwd="file")


def test_curve_where_the_kernel_has_none(server: Server) -> None:
    argv = (sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
    install(server.home, "plain", *argv)
    spec = {"metadata": {"supported_encryption": "curve"}}
    write_spec("curve", server, remote_kernel_name="plain", spec=spec)
    manager = KernelManager(kernel_name="curve", transport_encryption="required")
    with pytest.raises(errors.NoCurve) as caught:
        manager.start_kernel()
    assert "transport_encryption is required, but the kernelspec plain" in str(caught.value)
