"""For the job "inspect": the Python environments of a host that could run a kernel.

They are looked for where the usual tools make them, and each is asked what it is: only running it
shows whether it runs.
"""

from __future__ import annotations

import json
import os
import subprocess  # unlike an agent, this job is gone in a second
import sys
import time

from .inspect_specs import Logos, everything, kernelspec_places
from .kernel import find_shell
from .kernelspecs import directories
from .records import home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple

#: Seconds for a shell with the user's start-up files, and for all Pythons together.
SHELL_TIMEOUT = 15.0
PYTHONS_TIMEOUT = 20.0

#: Pythons that are asked at once, and at all.
AT_ONCE = 8
MOST = 100

MARK = "SSHPYK-PROBE"

#: Runs on any Python, even ones too old for our agent: their kernels are no worse for that.
PROBE = """
import os, sys
found = ""
for place in sys.path:
    try:
        names = place and os.listdir(place)
    except Exception:
        continue
    for name in names:
        if name.startswith("ipykernel-") and name.endswith("-info"):
            found = name[10:].rsplit(".", 1)[0].split("-py")[0]
fields = ["SSHPYK-PROBE", "%d.%d.%d" % sys.version_info[:3], sys.prefix, found or "-"]
print("\\t".join(fields))
"""

DUMP = f"import json, os; print('\\n{MARK}' + json.dumps(dict(os.environ)))"


def look(request: Dict[str, Any], logos: Logos) -> Dict[str, Any]:
    """All kernelspecs and environments."""
    plain = dict(os.environ)
    login, _ = environment_after([], True)
    setup: Optional[Dict[str, str]] = None
    trouble = ""
    if request["setup"] or request["login_shell"]:
        setup, trouble = environment_after(request["setup"], request["login_shell"])
    envs = [env for env in (setup, plain, login) if env is not None]
    by_name = kernelspec_places()
    places = list(by_name)
    for env in envs:
        places += [place for place in directories(env) if place not in places]
    kernelspecs = []
    for place in places:
        for spec in everything([place], logos):
            spec["by_name"] = place in by_name
            kernelspecs.append(spec)
    pythons = candidates(envs, kernelspecs, request["pythons"])
    environments = ask_all(pythons, setup or login or plain)
    for environment in environments:
        place = os.path.join(environment["prefix"], "share", "jupyter", "kernels")
        environment["kernelspecs"] = everything([place], logos)
    return {"kernelspecs": kernelspecs, "environments": environments, "setup_trouble": trouble}


def environment_after(setup: List[str], login: bool) -> Tuple[Optional[Dict[str, str]], str]:
    """The environment that a shell has after `setup`; None, and why, where there is none."""
    script = "{\n" + "\n".join(setup) + "\n} >&2 || exit 97\n" if setup else ""
    shell = find_shell(dict(os.environ))
    words = [shell, *(["-l"] if login else []), "-c", script + 'exec "$@"', "sshpyk"]
    try:
        done = subprocess.run(
            [*words, sys.executable, "-I", "-S", "-c", DUMP],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SHELL_TIMEOUT,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return None, f"not done within {SHELL_TIMEOUT:g} s"
    except OSError as error:
        return None, str(error)
    said = done.stdout.decode("utf-8", "replace").rpartition("\n" + MARK)[2]
    try:
        env = json.loads(said)
    except ValueError:
        env = None
    if done.returncode != 0 or not isinstance(env, dict):
        tail = done.stderr.decode("utf-8", "replace").strip()[-1000:]
        return None, tail or f"exit status {done.returncode}"
    return env, ""


def candidates(
    envs: List[Dict[str, str]], kernelspecs: List[Dict[str, Any]], paths: List[str]
) -> List[Dict[str, str]]:
    """Pythons to ask, each of another environment: the path, a kind and a name.

    `paths` are those of Pythons or environments that must be among them.
    """
    found: Dict[str, Dict[str, str]] = {}
    wanted = [root_of(path) for path in paths]
    named = [("venv", project(root), root) for root in wanted]
    for kind, name, root in [*roots(envs), *on_path(envs), *of_kernelspecs(kernelspecs), *named]:
        for program in ("python", "python3"):
            python = os.path.join(root, "bin", program)
            if os.access(python, os.X_OK) and not os.path.isdir(python):
                key = os.path.realpath(root)
                found.setdefault(key, {"python": python, "kind": kind, "name": name})
                break
    first = {os.path.realpath(root) for root in wanted}
    return [found[root] for root in sorted(found, key=lambda root: root not in first)][:MOST]


def root_of(path: str) -> str:
    """The environment of a Python, or that itself."""
    folder, program = os.path.split(path.rstrip("/"))
    is_python = os.path.basename(folder) == "bin" and program.startswith("python")
    return os.path.dirname(folder) if is_python else path.rstrip("/")


def on_path(envs: List[Dict[str, str]]) -> Iterator[Tuple[str, str, str]]:
    """The roots of the Pythons on PATH, and this one's."""
    for env in envs:
        for place in env.get("PATH", "").split(os.pathsep):
            if os.path.basename(place.rstrip("/")) == "bin":
                yield "system", "", os.path.dirname(place.rstrip("/"))
    yield "system", "", os.path.dirname(os.path.dirname(sys.executable))


def of_kernelspecs(kernelspecs: List[Dict[str, Any]]) -> Iterator[Tuple[str, str, str]]:
    """The environments whose Python a kernelspec starts, wherever they are."""
    for spec in kernelspecs:
        root = root_of(spec["argv"][0])
        if root != spec["argv"][0]:
            yield "venv", project(root), root


def roots(envs: List[Dict[str, str]]) -> Iterator[Tuple[str, str, str]]:
    """Kind, name and root directory of what may be an environment."""
    own = home()

    def variable(name: str) -> str:
        return next((env[name] for env in envs if env.get(name)), "")

    bases = [variable("MAMBA_ROOT_PREFIX"), conda_base(envs)]
    names = ("miniforge3", "mambaforge", "miniconda3", "anaconda3", "micromamba", "conda")
    bases += [os.path.join(place, name) for place in (own, "/opt") for name in names]
    bases.append(os.path.join(own, ".local/share/mamba"))
    for base in bases:
        if base:
            yield "conda", "base", base
            yield from children("conda", os.path.join(base, "envs"))
    yield from children("conda", os.path.join(own, ".conda/envs"))
    for line in read_lines(os.path.join(own, ".conda/environments.txt")):
        yield "conda", os.path.basename(line), line
    if variable("CONDA_PREFIX"):
        yield "conda", os.path.basename(variable("CONDA_PREFIX")), variable("CONDA_PREFIX")

    if variable("VIRTUAL_ENV"):
        yield "venv", project(variable("VIRTUAL_ENV")), variable("VIRTUAL_ENV")
    shelves = [".virtualenvs", ".venvs", "venvs", "envs", "virtualenvs", ".local/share/virtualenvs"]
    shelves += [".cache/pypoetry/virtualenvs", variable("WORKON_HOME")]
    for shelf in shelves:
        if shelf:
            yield from children("venv", os.path.join(own, shelf))
    for folder in ["", *sorted(subdirectories(own))[:500]]:
        for name in (".venv", "venv", "env", ""):
            root = os.path.join(own, folder, name).rstrip("/")
            if os.path.exists(os.path.join(root, "pyvenv.cfg")):
                yield "venv", project(root), root
    pyenv = variable("PYENV_ROOT") or os.path.join(own, ".pyenv")
    yield from children("pyenv", os.path.join(pyenv, "versions"))


def conda_base(envs: List[Dict[str, str]]) -> str:
    """The installation that the `conda` or `mamba` on PATH belongs to."""
    for env in envs:
        for variable in ("CONDA_EXE", "MAMBA_EXE"):
            if env.get(variable):
                return os.path.dirname(os.path.dirname(env[variable]))
        for place in env.get("PATH", "").split(os.pathsep):
            if os.path.isfile(os.path.join(place, "conda")):
                return os.path.dirname(os.path.dirname(os.path.realpath(f"{place}/conda")))
    return ""


def project(root: str) -> str:
    """What to call a venv: its own name, or its project's where that says nothing."""
    name = os.path.basename(root)
    parent = os.path.basename(os.path.dirname(root))
    return parent if name in (".venv", "venv", "env") and os.path.dirname(root) != home() else name


def children(kind: str, folder: str) -> Iterator[Tuple[str, str, str]]:
    """Every directory in `folder` may be an environment."""
    for name in sorted(subdirectories(folder)):
        yield kind, name, os.path.join(folder, name)


def subdirectories(folder: str) -> List[str]:
    """The names of directories in `folder`, hidden ones left out."""
    try:
        with os.scandir(folder) as entries:
            return [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    except OSError:
        return []


def read_lines(path: str) -> List[str]:
    """The lines of a text file; none where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in file if line.strip()]
    except OSError:
        return []


def ask_all(pythons: List[Dict[str, str]], env: Dict[str, str]) -> List[Dict[str, Any]]:
    """Run each of them, and add version, prefix and ipykernel's version, or the trouble."""
    deadline = time.monotonic() + PYTHONS_TIMEOUT
    waiting = list(pythons)
    running: List[Tuple[Dict[str, str], subprocess.Popen[bytes]]] = []
    answers: List[Dict[str, Any]] = []
    env = {key: value for key, value in env.items() if not key.startswith("PYTHON")}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            python = waiting.pop(0)
            try:
                process = subprocess.Popen(
                    [python["python"], "-c", PROBE],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=env,
                    start_new_session=True,
                )
            except OSError as error:
                answers.append(unusable(python, str(error.strerror)))
            else:
                running.append((python, process))
        if running:
            answers.append(answer_of(*running.pop(0), deadline))
    unique: Dict[str, Dict[str, Any]] = {}
    for found in answers:
        unique.setdefault(found["prefix"], found)
    return list(unique.values())


def answer_of(
    python: Dict[str, str], process: subprocess.Popen[bytes], deadline: float
) -> Dict[str, Any]:
    """What one of them has said of itself."""
    try:
        stdout, _ = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return unusable(python, "it does not answer")
    for line in stdout.decode("utf-8", "replace").splitlines():
        fields = line.split("\t")
        if fields[0] == MARK and len(fields) == 4:
            ipykernel = "" if fields[3] == "-" else fields[3]
            return dict(
                python, version=fields[1], prefix=fields[2], ipykernel=ipykernel, trouble=""
            )
    return unusable(python, f"it does not run (exit status {process.returncode})")


def unusable(python: Dict[str, str], why: str) -> Dict[str, Any]:
    """An environment that is there and can't be used."""
    root = os.path.dirname(os.path.dirname(python["python"]))
    return dict(python, version="", prefix=root, ipykernel="", trouble=why)
