"""Places that are entered by a command: `docker exec -i NAME`, `kubectl exec -i POD --`, `sudo -u
bob`, `tsh ssh HOST`. Pure: what such a command says of its place, and the short forms of some.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import errors

if TYPE_CHECKING:
    from ..ssh.command import Destination

#: Programs of which `PROGRAM … exec … NAME` runs a command in the container called NAME, and what
#: starts it again and shows which there are.
CONTAINERS = {
    "docker": ("docker start {name}", "docker ps -a"),
    "podman": ("podman start {name}", "podman ps -a"),
    "nerdctl": ("nerdctl start {name}", "nerdctl ps -a"),
    "lxc": ("lxc start {name}", "lxc list"),
    "incus": ("incus start {name}", "incus list"),
}
PODS = ("kubectl", "oc")

#: What containers may be called; pods, namespaces and their containers.
CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
POD = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

#: Characters of a command that stands for the name of its place.
LONGEST = 60

#: The shell of a place, in commands for people: spelled so that no host is called the same.
SHELL = "/bin/sh"


@dataclass(frozen=True)
class Entrance:
    """What is run to get into a place: `command`, in words as a shell's, behind which stands what
    is to run there. It runs on the host `outer`; None: on this machine. No shell reads it, so that
    nothing in it is expanded but a ~/ at the beginning of a word.
    """

    command: str
    outer: Destination | None = None

    @property
    def words(self) -> list[str]:
        """The command in words. Raises `SettingsError`."""
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise errors.SettingsError(
                text=f"{self.command!r:.200} is no command: {error}.",
                advice="Write it as in a shell, with every quote closed.",
            ) from None
        if not words or not self.command.isprintable():
            raise errors.SettingsError(text=f"{self.command!r:.200} is no command.")
        return words

    @property
    def program(self) -> str:
        """The program that is run."""
        return os.path.expanduser(self.words[0]) if self.outer is None else self.words[0]

    @property
    def host(self) -> str:
        """What the place is called: its short form where it has one, else the command."""
        own = short_form(self._words_or_text) or _clipped(self.command)
        return own if self.outer is None else f"{own} on {self.outer.host}"

    @property
    def _words_or_text(self) -> list[str]:
        try:
            return self.words
        except errors.SettingsError:
            return [self.command]

    @property
    def is_container(self) -> bool:
        """Whether the command names one container: where another one has the name, the first has
        ended, and all that ran in it."""
        return self._container is not None

    @property
    def _container(self) -> tuple[str, list[str]] | None:
        """The program that enters it, and the words behind its "exec"."""
        words = self._words_or_text
        for at, word in enumerate(words):
            program = word.rpartition("/")[2]
            if (program in CONTAINERS or program in PODS) and "exec" in words[at:]:
                behind = words[words.index("exec", at) + 1 :]
                # deployment/NAME is any of its pods.
                is_any = program in PODS and any(
                    re.match(r"(?!pods?/)[a-z.]+/", word) for word in behind
                )
                return None if is_any else (program, behind)
        return None

    def container_commands(self) -> tuple[str, str]:
        """What a person types to start the container, and to see which there are; empty if
        unknown."""
        found = self._container
        if found is None:
            return "", ""
        program, behind = found
        if program in PODS:
            return "", f"{program} get pods --all-namespaces"
        start, show = CONTAINERS[program]
        name = next((word for word in reversed(behind) if word != "--"), "")
        return start.format(name=shlex.quote(name)), show

    def check(self) -> None:
        """Raise a `SettingsError` where nothing could be started with this."""
        program = self.program
        self.check_name()
        if self.outer is not None:
            self.outer.check()
        elif shutil.which(program) is None:
            raise errors.NoSuchCommand(program=program, host=self.host)

    def check_name(self) -> None:
        """Raise a `SettingsError` where the command can't be one."""
        if self.words[0].startswith("-"):
            raise errors.SettingsError(
                text=f"{self.command!r:.200} begins with an option, and should with a program."
            )
        if self.outer is not None:
            self.outer.check_name()

    def argv(self, script: str) -> list[str]:
        """The command line that runs `script`, a line for a shell, in the place."""
        words = [os.path.expanduser(word) if word[:2] == "~/" else word for word in self.words]
        return [*words, *shell_words(script)]

    def for_people(self, *options: str, program: str | None = "") -> str:
        """The command with which a person gets a shell there; `errors.on_host` runs more by it."""
        here = shlex.join([*self._words_or_text, SHELL])
        return here if self.outer is None else f"{self.outer.for_people()} {shlex.quote(here)}"

    def for_connect(self) -> str:
        """The arguments of `sshpyk add` and `sshpyk doctor` for it."""
        if self.outer is not None:
            return f"{self.outer.for_connect()} --inside {shlex.quote(self.command)}"
        short = short_form(self._words_or_text)
        return shlex.quote(short) if short else f"--via {shlex.quote(self.command)}"


def shell_words(script: str) -> list[str]:
    """The words behind the command that enters a place, which have `script` run by a shell there.

    Some commands run their words as they are (docker, kubectl, nsenter); others join them for a
    shell of the other side (tsh, gcloud, ssh itself). With the first kind sh reads it all, and `:`
    does nothing. With the second, that shell reads "sh -c :", which does nothing, and then the
    rest itself. So either reads it once.
    """
    return ["sh", "-c", f":;{script}"]


def short_form(words: list[str]) -> str:
    """How `expand` spells a command, where it can; else empty."""
    if words[0] in ("docker", "podman") and words[1:2] == ["exec"] and "-i" in words:
        name = words[-1]
        if CONTAINER.fullmatch(name) and len(words) > 3:
            return f"{words[0]}:{name}"
    options = {"--context": "", "-n": "", "-c": ""}
    rest = list(words)
    for option in options:
        if option in rest[:-1]:
            at = rest.index(option)
            options[option] = rest[at + 1]
            del rest[at : at + 2]
    is_pod = len(rest) == 5 and rest[:3] == ["kubectl", "exec", "-i"] and rest[4] == "--"
    if not is_pod or not options["-n"]:
        return ""
    parts = [options["-n"], rest[3]]
    if options["--context"]:
        parts = [options["--context"], *parts, options["-c"]]
    elif options["-c"]:
        parts.append(options["-c"])
    return "k8s:" + "/".join(parts)


def expand(text: str) -> str | None:
    """The command that a short form stands for; None where `text` is none.

    `docker:NAME`, `podman:NAME`, `k8s:NAMESPACE/POD[/CONTAINER]`, or with a context
    `k8s:CONTEXT/NAMESPACE/POD/[CONTAINER]`. Raises `SettingsError` where a part can't be a name.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("docker", "podman", "k8s"):
        return None
    if kind != "k8s":
        if not CONTAINER.fullmatch(rest):
            raise errors.SettingsError(text=f"{rest!r:.200} can't be the name of a container.")
        return shlex.join([kind, "exec", "-i", rest])
    parts = rest.split("/")
    context, container = "", ""
    if len(parts) > 3:  # a context may have slashes of its own
        *front, namespace, pod, container = parts
        context = "/".join(front)
    elif len(parts) == 3:
        namespace, pod, container = parts
    elif len(parts) == 2:
        namespace, pod = parts
    else:
        namespace, pod = "", rest
    names = [namespace, pod, *([container] if container else [])]
    bad = [name for name in names if not POD.fullmatch(name)]
    if bad or context.startswith("-") or not context.isprintable():
        raise errors.SettingsError(
            text=f"{text!r:.200} names no pod.",
            advice="Write k8s:NAMESPACE/POD or k8s:NAMESPACE/POD/CONTAINER; with a context, "
            "k8s:CONTEXT/NAMESPACE/POD/ or k8s:CONTEXT/NAMESPACE/POD/CONTAINER.",
        )
    words = ["kubectl", *(["--context", context] if context else []), "exec", "-i"]
    words += ["-n", namespace, pod, *(["-c", container] if container else []), "--"]
    return shlex.join(words)


def _clipped(command: str) -> str:
    text = " ".join(command.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
