"""Commands that lead into a place, as words: no process is started here."""

from __future__ import annotations

import shlex

import pytest

from sshpyk import errors
from sshpyk.ssh.command import Destination
from sshpyk.transport.command import Command
from sshpyk.transport.entrance import Entrance, expand
from sshpyk.transport.refusals import explain
from sshpyk.transport.unanswered import Heard
from sshpyk.transport.unanswered import explain as explain_any

SHORT = {
    "docker:app": "docker exec -i app",
    "podman:my.app_1": "podman exec -i my.app_1",
    "k8s:lab/pod-0": "kubectl exec -i -n lab pod-0 --",
    "k8s:lab/pod-0/main": "kubectl exec -i -n lab pod-0 -c main --",
    "k8s:west/lab/pod-0/": "kubectl --context west exec -i -n lab pod-0 --",
    "k8s:west/lab/pod-0/main": "kubectl --context west exec -i -n lab pod-0 -c main --",
    "k8s:arn:aws:eks:eu:1:cluster/west/lab/pod-0/": (
        "kubectl --context arn:aws:eks:eu:1:cluster/west exec -i -n lab pod-0 --"
    ),
}


@pytest.mark.parametrize(("short", "command"), SHORT.items())
def test_short_forms_stand_for_commands(short: str, command: str) -> None:
    assert expand(short) == command
    assert Entrance(command).host == short


@pytest.mark.parametrize("text", ["host", "me@host", "ssh://me@host:22", "[::1]:22", "wsl:x", ""])
def test_hosts_are_no_short_forms(text: str) -> None:
    assert expand(text) is None


BAD = ["docker:", "docker:-x", "docker:a b", "podman:a;b", "k8s:pod", "k8s:lab/", "k8s:Lab/pod"]
BAD += ["k8s:--x/lab/pod/", "k8s:lab/-pod", "k8s:/pod", "docker:a\nb", "k8s:lab/pod/a b"]


@pytest.mark.parametrize("text", BAD)
def test_what_can_be_no_name_is_said(text: str) -> None:
    with pytest.raises(errors.SettingsError, match=r"names no pod|name of a container"):
        expand(text)


@pytest.mark.parametrize(
    ("command", "is_container"),
    [
        ("docker exec -i app", True),
        ("sudo -n docker exec -i -u me app", True),
        ("/usr/bin/podman exec -i app", True),
        ("kubectl exec -i -n lab pod-0 --", True),
        ("kubectl exec -i pod/pod-0 --", True),
        ("kubectl exec -i deployment/app --", False),  # any of its pods
        ("tsh ssh host", False),
        ("sudo -u exec", False),
        ("nsenter -t 12 -p -m", False),
    ],
)
def test_a_container_is_told_from_other_places(command: str, is_container: bool) -> None:
    assert Entrance(command).is_container is is_container


@pytest.mark.parametrize("command", ["", "   ", "docker exec 'app", "a\nb", "-x docker"])
def test_what_is_no_command_is_said(command: str) -> None:
    with pytest.raises(errors.SettingsError, match=r"command|option"):
        Entrance(command).check()


def test_what_a_person_types_runs_more_in_the_place() -> None:
    """Behind `docker exec` as behind `tsh ssh`, which joins words for a shell of the other side."""
    here = errors.on_host(Entrance("docker exec -i app").for_people(), "python3 -V")
    assert shlex.split(here) == ["docker", "exec", "-i", "app", "/bin/sh", "-c", ":;python3 -V"]
    there = Entrance("docker exec -i app", Destination("me@host"))
    assert there.host == "docker:app on me@host"
    assert there.for_connect() == "me@host --inside 'docker exec -i app'"
    ssh, host, inner = shlex.split(errors.on_host(there.for_people(), "python3 -V"))
    assert (ssh, host) == ("ssh", "me@host")
    assert shlex.split(inner) == shlex.split(here)


#: The command, its status, what it says; what is made of it.
REFUSALS = [
    ("docker exec -i app", 1, "Error response from daemon: No such container: app", "NoSuchPlace"),
    ("docker exec -i app", 1, "Error: No such container: app", "NoSuchPlace"),
    (
        "docker exec -i app",
        1,
        "Error response from daemon: Container 8f2 is not running",
        "NotRunning",
    ),
    ("docker exec -i app", 1, "Error response from daemon: container app is paused", "NotRunning"),
    ("docker exec -it app", 1, "the input device is not a TTY", "ThroughTerminal"),
    (
        "docker exec -i app",
        127,
        'OCI runtime exec failed: exec failed: unable to start container process: exec: "sh": '
        "executable file not found in $PATH: unknown",
        "NoShell",
    ),
    (
        "docker exec -i app",
        1,
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
        "EndedAtOnce",
    ),
    (
        "podman exec -i app",
        255,
        "Error: can only create exec sessions on running containers: container state improper",
        "NotRunning",
    ),
    (
        "podman exec -i app",
        125,
        'Error: no container with name or ID "app" found: no such container',
        "NoSuchPlace",
    ),
    (
        "kubectl exec -i -n lab pod --",
        1,
        'Error from server (NotFound): pods "pod" not found',
        "NoSuchPlace",
    ),
    (
        "kubectl exec -i -n lab pod --",
        1,
        'error: unable to upgrade connection: container not found ("main")',
        "NotRunning",
    ),
    (
        "kubectl exec -i -n lab pod --",
        1,
        "error: cannot exec into a container in a completed pod; current phase is Succeeded",
        "NotRunning",
    ),
    (
        "kubectl exec -i -n lab pod --",
        1,
        "error: You must be logged in to the server (Unauthorized)",
        "NotLoggedIn",
    ),
    ("sudo -u bob", 1, "sudo: a password is required", "NotLoggedIn"),
    ("sudo -u bob", 1, "sudo: no tty present and no askpass program specified", "NotLoggedIn"),
    ("tsh ssh host", 1, "ERROR: not logged in, please run: tsh login", "NotLoggedIn"),
    (
        "nsenter -t 12 -p",
        1,
        "nsenter: cannot open /proc/12/ns/pid: No such file or directory",
        "NoSuchPlace",
    ),
    ("docker exec -i app", 127, "bash: line 1: docker: command not found", "NoSuchCommand"),
    ("docker exec -i app", 127, "sh: 1: docker: not found", "NoSuchCommand"),
    ("docker exec -i app", 127, "zsh:1: command not found: docker", "NoSuchCommand"),
    ("docker exec -i app", 127, "fish: Unknown command: docker", "NoSuchCommand"),
    ("docker exec -i app", 127, "sh: 1: exec: python3: not found", "PythonMissing"),
    ("env", 3, "", "EndedAtOnce"),
    ("env", 1, "what is this?", "EndedAtOnce"),
]


@pytest.mark.parametrize(("command", "status", "said", "kind"), REFUSALS)
def test_what_a_command_says_is_a_typed_error(
    command: str, status: int, said: str, kind: str
) -> None:
    heard = Heard(status, "", said, "python3")
    found, fields = explain(Entrance(command), heard, *explain_any(heard))
    assert found.__name__ == kind
    place = Command(Entrance(command))
    more = {"host": place.host, "python": "python3", "command": place.login.command, "details": ""}
    assert place.host in str(found(**{**more, **fields}))
