"""Containers as far as kernels can tell: namespaces of their own, and programs that lead into them.

docker and podman can't run everywhere that these tests do, so `docker`, `podman` and `kubectl` on
PATH are a few lines that take the same arguments, say the same where they don't get in, and enter
by nsenter, which is what they do underneath.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.kernels import left_behind

#: Takes `docker exec`, `podman exec` and `kubectl exec`; CONTAINERS is a directory with one of
#: each container's: the pid of its first process, and its home.
STAND_IN = """\
#!/bin/sh
program=${0##*/} input= terminal= pod=
while [ $# -gt 0 ]; do
    case $1 in
        exec) ;;
        -i) input=1 ;;
        -t) terminal=1 ;;
        -it) input=1 terminal=1 ;;
        --context | -n | -c) shift ;;
        --) break ;;
        *)
            name=$1
            [ "$program" = kubectl ] || break ;;
    esac
    shift
done
shift
say() { echo "$1" >&2; exit "$2"; }
place=CONTAINERS/$name
if [ ! -d "$place" ]; then
    case $program in
        docker) say "Error response from daemon: No such container: $name" 1 ;;
        podman) say "Error: no container with name or ID \\"$name\\" found: no such \
container" 125 ;;
        kubectl) say "Error from server (NotFound): pods \\"$name\\" not found" 1 ;;
    esac
fi
if ! pid=$(cat "$place/pid" 2>&-) || ! kill -0 "$pid" 2>&-; then
    case $program in
        docker) say "Error response from daemon: container $name is not running" 1 ;;
        podman) say "Error: can only create exec sessions on running containers: container state \
improper" 255 ;;
        kubectl) say "error: unable to upgrade connection: container not found (\\"$name\\")" 1 ;;
    esac
fi
if [ -n "$terminal" ]; then
    [ -t 0 ] || say "the input device is not a TTY" 1
fi
[ -n "$input" ] || exec </dev/null
exec nsenter -t "$pid" -p -m -u env -i "HOME=$place/home" "PATH=$PATH" "$@"
"""

#: What is below /tmp and has this project, and with it the Python that runs kernels; or empty.
_PARTS = Path(__file__).resolve().parts
BELOW_TMP = _PARTS[2] if _PARTS[1] == "tmp" else ""

#: Seconds for everything in a container to be gone.
PATIENCE = 15.0


class Containers:
    """Makes containers below `directory`, whose `bin` has the programs that enter them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        self.bin.mkdir(parents=True)
        for program in ("docker", "podman", "kubectl"):
            self.program(program, STAND_IN.replace("CONTAINERS", str(directory / "all")))

    def program(self, name: str, text: str) -> str:
        """Put a program on the PATH; its path."""
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def make(self, name: str) -> Container:
        """A container that runs."""
        container = Container(self.directory / "all" / name)
        container.start()
        return container


class Container:
    """Namespaces for processes, mounts and the name of the machine; /tmp is its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.home.mkdir(parents=True)
        (directory / "tmp").mkdir()
        self._first: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run its first process, again perhaps: what was on its disk is there."""
        tmp = self.directory / "tmp"
        script = f"hostname {self.directory.name}"
        if BELOW_TMP:
            (tmp / BELOW_TMP).mkdir(exist_ok=True)
            script += f" && mount --rbind /tmp/{BELOW_TMP} {tmp}/{BELOW_TMP}"
        script += f" && mount --rbind {tmp} /tmp && echo started && exec sleep infinity"
        make = ["unshare", "--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc"]
        self._first = subprocess.Popen([*make, "sh", "-c", script], stdout=subprocess.PIPE)
        assert self._first.stdout is not None
        assert self._first.stdout.readline() == b"started\n"
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children").read_text()
        self.pid = int(children.split()[0])
        (self.directory / "pid").write_text(str(self.pid))

    def stop(self) -> None:
        """End its first process, and with it all others."""
        assert self._first is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._first.wait()
        assert self._first.stdout is not None
        self._first.stdout.close()

    def processes(self) -> list[str]:
        """What runs in it, beside its first process."""
        own = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != self.pid:
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{name}/ns/pid") == own:
                        title = Path(f"/proc/{name}/cmdline").read_bytes()
                        if title:  # a zombie has none
                            found.append(f"{name} {title.decode().replace(chr(0), ' ')}")
        return found

    def _kernels(self) -> list[str]:
        kept = (".log", ".jsonl")
        return [name for name in left_behind(self.home) if not name.endswith(kept)]

    def assert_clean(self) -> None:
        """Wait until nothing is left in it of kernels and agents, but words of how they ended."""
        deadline = time.monotonic() + PATIENCE
        while left := [*self.processes(), *self._kernels()]:
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.05)
        names = {path.name for path in (self.directory / "tmp").iterdir()}
        assert names <= {BELOW_TMP}


def trouble() -> str:
    """Why there can be no containers here, if so."""
    if os.getuid() != 0:
        return "a mount of the test's own takes root"
    make = ["unshare", "--pid", "--mount", "--uts", "--fork", "true"]
    if subprocess.run(make, capture_output=True, check=False).returncode != 0:
        return "this user may not make mount namespaces"
    return ""


@contextlib.contextmanager
def containers(directory: Path) -> Iterator[Containers]:
    """Containers that are all stopped in the end."""
    made: list[Container] = []

    class Kept(Containers):
        def make(self, name: str) -> Container:
            container = super().make(name)
            made.append(container)
            return container

    try:
        yield Kept(directory)
    finally:
        for container in made:
            container.stop()
