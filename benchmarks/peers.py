"""First replies beside what users have today: sshpyk 1.25, and programs that know only argv.

    python -m benchmarks.peers [--runs N]

Each start is made by a process of its own (`first_reply.py`), in turn, on a connection that is
there: a local kernel; ours, as nbclient starts it; ours, as VS Code does, by the command of
kernel.json; and sshpyk 1.25 in both ways, in an environment of its own that pip fills first. ssh's
configuration shares its connection, which 1.25 asks for. What is shown is medians, and their ratios
to the local kernel of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from sshpyk.jupyter.kernelspec import make_argv
from tests.lab.kernels import PATIENCE, write_card
from tests.lab.sshd import Sshd

from .forks import in_turn, show, wait_for_fork_server
from .links import through_link
from .places import Started
from .rows import FAR

SCRIPT = str(Path(__file__).with_name("first_reply.py"))

#: What users have installed, and what it runs on the host.
PEER = ("sshpyk==1.25", "ipykernel")


def install(directory: Path) -> str:
    """An environment with the peer; its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    python = str(directory / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", *PEER], check=True)
    return python


def first_reply(python: str, kernel: str, *options: str) -> float:
    """Seconds of one start, by a process of `python`."""
    argv = [python, SCRIPT, kernel, *options]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
    (seconds,) = json.loads(done.stdout.splitlines()[-1])
    return float(seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="paired runs of each")
    parser.add_argument("--peer", metavar="PYTHON", help="of an environment that has sshpyk 1.25")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as name:
        directory = Path(name)
        for variable in ("RUNTIME", "DATA", "CONFIG"):
            os.environ[f"JUPYTER_{variable}_DIR"] = str(directory / variable.lower())
        home = directory / "home"
        home.mkdir()
        peer = options.peer or install(directory / "peer")
        with Sshd(home=home) as server, through_link(server) as link:
            shares = f"ControlMaster auto\n  ControlPath {name}/m\n  ControlPersist 10m\n  HostName"
            config = server.ssh_config.read_text()
            server.ssh_config.write_text(config.replace("HostName", shares, 1))
            place = {"ssh_host_alias": server.host, "ssh_config": str(server.ssh_config)}
            write_card("ours", spec={"argv": make_argv("ours")}, **place)
            # As its `sshpyk add` writes it.
            argv = [peer, str(Path(peer).with_name("sshpyk-kernel"))]
            argv += ["--SSHKernelApp.kernel_name=theirs"]
            argv += ["--KernelManager.connection_file='{connection_file}'"]
            write_card("theirs", spec={"argv": argv}, remote_python=peer, **place)
            ours, ours_argv = (partial(first_reply, sys.executable, "ours", *o) for o in WAYS)
            theirs, theirs_argv = (partial(first_reply, peer, "theirs", *o) for o in WAYS)
            ways = {
                "local": partial(first_reply, sys.executable, "python3"),
                "ours": ours,
                "ours, argv": ours_argv,
                "1.25": theirs,
                "1.25, argv": theirs_argv,
            }
            warm = Started("ours")
            fork_server = wait_for_fork_server(home)
            try:
                show("start", in_turn(options.runs, ways))
                link.set_delay(FAR)
                show("start, 50 ms", in_turn(options.runs, ways))
                link.set_delay(0)
            finally:
                warm.end()
                os.kill(fork_server, 15)
    return 0


#: The options of a start: as nbclient, and as VS Code.
WAYS = ((), ("--argv",))


if __name__ == "__main__":
    sys.exit(main())
