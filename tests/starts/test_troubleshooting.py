"""The troubleshooting page quotes errors as they are said, and leaves none of a start's out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sshpyk import errors
from sshpyk.server import trouble

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.rst"

#: What a user may meet when a kernel starts. The tests beside this one bring each of them about.
MET = [
    errors.UnknownHost,
    errors.ConnectionRefused,
    errors.Unreachable,
    errors.HostError,
    errors.AuthenticationFailed,
    errors.LoginRefused,
    errors.HostKeyUnknown,
    errors.HostKeyChanged,
    errors.PythonMissing,
    errors.PythonTooOld,
    errors.StrangeAnswer,
    errors.NoCommands,
    errors.CommandSplit,
    errors.InputTaken,
    errors.WantsTerminal,
    errors.EndedSilently,
    errors.EndlessNoise,
    errors.ShellWaits,
    errors.Limited,
    errors.NoKernelspec,
    errors.NoKernelspecs,
    errors.KernelDied,
    errors.ProgramMissing,
    errors.LaunchTimeout,
    errors.NoCurve,
    errors.NotWritable,
    errors.NotPrivate,
    errors.NoDirectory,
    errors.NoResources,
    errors.NoForwarding,
    errors.NoSuchCommand,
    errors.EndedAtOnce,
    errors.NotRunning,
    errors.NoSuchPlace,
    errors.NotLoggedIn,
    errors.ThroughTerminal,
    errors.NoInput,
    errors.NoShell,
    errors.NoSsh,
    errors.NoSshConfig,
    errors.NoHost,
    errors.KernelGone,
    trouble.LoginRefused,
    trouble.LoginPage,
    trouble.NotJupyter,
    trouble.ServerNotTrusted,
    trouble.ServerAway,
]


def symptoms() -> list[str]:
    """The messages that the page explains."""
    return re.findall(r"^``(.+)``$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def begins(sentence: str, symptom: str) -> bool:
    """Whether an error of this template can begin as the page says."""
    pieces = re.split(r"\{.*?\}", sentence)
    # A symptom may stop anywhere in the sentence.
    shown = symptom.partition("…")[0].rstrip()
    for length in range(len(pieces), 0, -1):
        for end in range(len(pieces[length - 1]), -1, -1):
            kept = [*pieces[: length - 1], pieces[length - 1][:end]]
            enough = len("".join(kept)) >= min(10, len("".join(pieces)))
            if enough and re.fullmatch(".+".join(map(re.escape, kept)), shown):
                return True
    return False


@pytest.mark.parametrize("error", MET, ids=lambda error: error.__name__)
def test_the_page_explains_it(error: type[errors.SshpykError]) -> None:
    assert any(begins(error.sentence, symptom) for symptom in symptoms())


def test_the_page_quotes_nothing_else() -> None:
    others = ["ssh refuses HOST, or its configuration for it."]
    for symptom in symptoms():
        known = any(begins(error.sentence, symptom) for error in MET)
        assert known or symptom in others, symptom
