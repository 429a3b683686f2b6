"""What the agent imports: each launch waits for it, and each agent keeps it in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sshpyk.transport import package
from sshpyk.transport.jobs import FIRST_LINE
from tests.agent.launching import launch_request

#: Each of these would add 5 to 10 ms to each start, most for the `enum` that they bring.
SLOW = {"ctypes", "enum", "json", "re", "selectors", "signal", "socket", "subprocess", "traceback"}

#: Stands in for os.fork: the process goes on as the agent, up to where the kernel's is made.
FORK = """
import os, sys
forks = []
def fork():
    forks.append(None)
    if len(forks) == 2:
        os.write(2, " ".join(sorted(sys.modules)).encode())
        raise OSError("that will do")
    return 0
os.fork = fork
"""


def test_a_launch_imports_nothing_slow_before_the_kernel_is_there(tmp_path: Path) -> None:
    request = launch_request(tmp_path, "python3", "-m", "ipykernel_launcher")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", FORK + FIRST_LINE],
        input=package.first() + request,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
    )
    imported = set(done.stderr.decode().split())
    assert "sshpyk.agent.kernel" in imported, done.stdout
    assert imported & SLOW == set()


#: In place of the job: what the agent is made of, to be imported with nothing of the user's.
ALL = """
boot.read_rest()
import sshpyk.agent.serve
print(" ".join(sorted(sys.modules)))
"""


@pytest.mark.parametrize("compiled", [False, True], ids=["sources", "bytecode"])
def test_the_agent_imports_nothing_slow_at_all(compiled: bool) -> None:
    program = FIRST_LINE.replace(
        'exec(sources[""])', 'exec(sources[""].replace("boot.main(sources)", START + ALL))'
    )
    start = "boot._files.update(sources); sys.meta_path.insert(0, boot.Sources(boot._files))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"START = {start!r}; ALL = {ALL!r}; {program}"],
        input=package.first() + package.rest(compiled=compiled),
        capture_output=True,
        check=True,
    )
    imported = set(done.stdout.decode().split())
    assert "sshpyk.agent.outputs" in imported
    assert imported & SLOW == set()
