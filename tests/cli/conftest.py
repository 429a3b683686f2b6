"""What the tests of the command line share: a call, and what it wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from sshpyk.cli import main
from tests.cli.hosts import RichHost


class Result(NamedTuple):
    """How a call ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The output of --json."""
        return json.loads(self.out)


class Call(Protocol):
    """A call of `sshpyk` in this process: its words in, what came of it out."""

    def __call__(self, *words: str) -> Result: ...


@pytest.fixture
def sshpyk(capfd: pytest.CaptureFixture[str]) -> Call:
    """Call `sshpyk` with some words."""

    def call(*words: str) -> Result:
        capfd.readouterr()
        try:
            status = main(words)
        except SystemExit as end:  # argparse's way
            status = int(end.code or 0)
        result = Result(status, *capfd.readouterr())
        assert "Unknown child process" not in result.err  # asyncio's, when a child is reaped twice
        return result

    return call


def written(name: str) -> dict[str, Any]:
    """The kernel.json of the kernelspec `name`."""
    content: dict[str, Any] = json.loads((kernels() / name / "kernel.json").read_text("utf-8"))
    return content


def config_of(name: str) -> dict[str, Any]:
    """The settings in it."""
    config: dict[str, Any] = written(name)["metadata"]["kernel_provisioner"]["config"]
    return config


def kernels() -> Path:
    """Where this test's kernelspecs are."""
    return Path(os.environ["JUPYTER_DATA_DIR"]) / "kernels"


def names() -> list[str]:
    """The kernelspecs that there are."""
    return sorted(os.listdir(kernels())) if kernels().is_dir() else []


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RichHost]:
    """A host with several environments; mark who uses it `sshd`."""
    host = RichHost(tmp_path_factory.mktemp("rich"))
    yield host
    host.close()
