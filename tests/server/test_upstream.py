"""Upstream's own tests of kernels, with kernels of a Jupyter Server.

In CI a part of what runs over ssh runs here, by the default way, which is carried. All of it, or
the plain way, by hand:

    SSHPYK_SUITES=all SSHPYK_SUITES_WAY=plain python -m pytest tests/server/test_upstream.py
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.jupyter.test_upstream_nbclient import SUITE as NBCLIENT
from tests.jupyter.upstream import PATIENCE, Suite, check
from tests.server.servers import remote, until_none

#: Whether all that runs over ssh is run.
ALL = os.environ.get("SSHPYK_SUITES") == "all"

#: How the server's kernels are reached.
WAY = os.environ.get("SSHPYK_SUITES_WAY", "auto")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE + 150)]


@contextmanager
def over_server(
    suite: Suite, kernels_env: Mapping[str, str], directory: Path
) -> Iterator[Mapping[str, str]]:
    """On a server of its own. It takes no variables with a start, so it has the kernels' itself."""
    with tempfile.TemporaryDirectory(prefix="jupyter-", dir="/tmp") as name:
        for kernel, (module, variables) in suite.kernels.items():
            spec = Path(name, "data", "kernels", kernel)
            spec.mkdir(parents=True)
            argv = [sys.executable, "-m", module, "-f", "{connection_file}"]
            content = {"argv": argv, "display_name": kernel, "language": "python"}
            (spec / "kernel.json").write_text(json.dumps({**content, "env": variables}))
        # A server chooses its kernels' ports before they bind them, and here all kernels of the
        # suite bind ports on the same machine.
        options = ["--KernelManager.transport=ipc"]
        env = {**kernels_env, **suite.env, "HOME": name}
        with remote(Path(name), *options, env=env) as server:
            yield {
                "SSHPYK_SERVER_URL": f"http://127.0.0.1:{server.port}/",
                "SSHPYK_SERVER_WAY": WAY,
                "SSHPYK_TOKEN_ENV": "TOKEN_OF_FAR",
                "TOKEN_OF_FAR": server.token,
            }
            until_none(server)


def _in_ci(suite: Suite, shares: Sequence[Sequence[str]], *failing: str, fewest: int) -> Suite:
    """What of a suite is run where not all is wanted; `failing` are those of it that can't pass."""
    if ALL:
        return suite
    not_applicable = {name: suite.not_applicable[name] for name in failing}
    return replace(suite, shares=shares, fewest=fewest, not_applicable=not_applicable)


def _by_plain_way(why: str, *names: str) -> dict[str, str]:
    """What can't pass by the plain way alone."""
    return dict.fromkeys(names, why) if WAY == "plain" else {}


_NO_VARIABLES = "a server takes no variables of this machine with a start"

#: By the plain way the server has a kernel that died started again before anybody sees it dead: the
#: cell ends with an error of its own.
_REVIVED = "the server starts a kernel again that died; its cell ends with an error, as it should"

NBCLIENTS = replace(
    NBCLIENT,
    not_applicable={
        "tests.test_client.test_run_all_notebooks[Inline Image.ipynb-opts5]": (
            "the server says in which directory a kernel is; the picture is in the notebook's"
        ),
        "tests.test_client.test_run_all_notebooks[Check History in Memory.ipynb-opts15]": (
            "a server takes no arguments for a kernel"
        ),
        "tests.test_client.test_parallel_notebooks": _NO_VARIABLES,
        "tests.test_client.test_async_parallel_notebooks": _NO_VARIABLES,
        **_by_plain_way(
            _REVIVED,
            "tests.test_client.TestExecute.test_error_notebook_hook",
            "tests.test_client.TestExecute.test_kernel_death_during_execution",
        ),
    },
)


#: Widgets, kernels of other processes, and one that dies.
NBCLIENTS_IN_CI = [
    "tests/test_client.py",
    "-k=JupyterWidgets or test_widgets or test_many_parallel or death_during",
]


def test_nbclients_own_tests_pass(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    suite = _in_ci(
        NBCLIENTS,
        [NBCLIENTS_IN_CI],
        *(name for name in NBCLIENTS.not_applicable if "death_during" in name),
        fewest=3,
    )
    check(suite, request, tmp_path, over_server)
