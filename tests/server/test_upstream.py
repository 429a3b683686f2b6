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

from tests.jupyter.test_upstream_client import SUITE as CLIENT
from tests.jupyter.test_upstream_nbclient import SUITE as NBCLIENT
from tests.jupyter.test_upstream_server import SUITE as SERVER
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


def _by(way: str, why: str, *names: str) -> dict[str, str]:
    """What can't pass by this way alone."""
    return dict.fromkeys(names, why) if (WAY == "plain") == (way == "plain") else {}


_NO_VARIABLES = "a server takes no variables of this machine with a start"

_NO_DIRECTORY = "the server says in which directory a kernel is; these name one of this machine's"

#: By the plain way the server has a kernel that died started again before anybody sees it dead: the
#: cell ends with an error of its own.
_REVIVED = "the server starts a kernel again that died; its cell ends with an error, as it should"

NBCLIENTS = replace(
    NBCLIENT,
    not_applicable={
        "tests.test_client.test_run_all_notebooks[Inline Image.ipynb-opts5]": _NO_DIRECTORY,
        "tests.test_client.test_run_all_notebooks[Check History in Memory.ipynb-opts15]": (
            "a server takes no arguments for a kernel"
        ),
        "tests.test_client.test_parallel_notebooks": _NO_VARIABLES,
        "tests.test_client.test_async_parallel_notebooks": _NO_VARIABLES,
        **_by(
            "plain",
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


CLIENTS = replace(
    CLIENT,
    fewest=74,
    not_applicable={
        **CLIENT.not_applicable,
        **dict.fromkeys(
            (
                f"tests.test_kernelmanager.TestKernelManagerShutDownGracefully.test_{kind}signal_"
                "kernel_subprocesses[signaltest-no-terminate-install_kernel_dont_terminate-"
                "_ShutdownStatus.SigkillRequest]"
                for kind in ("", "async_")
            ),
            "a server ends a kernel by one request, and has SIGTERM and SIGKILL to itself",
        ),
        "tests.test_kernelmanager.TestKernelManager.test_templated_kspec_env": _NO_VARIABLES,
        **dict.fromkeys(
            (
                f"tests.test_multikernelmanager.TestAsyncKernelManager.test_bad_kernelspec{kind}"
                for kind in ("", "_pending")
            ),
            "a server starts its own kernelspecs, and says itself which it has not",
        ),
    },
)


#: Ends of kernels that want to go on, and a whole life.
CLIENTS_IN_CI = [
    "tests/test_kernelmanager.py",
    "-k=Gracefully and not async or TestKernelManager and lifecycle and tcp",
]


def test_jupyter_clients_own_tests_pass(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    suite = _in_ci(
        CLIENTS,
        [CLIENTS_IN_CI],
        *(name for name in CLIENTS.not_applicable if "test_signal_kernel" in name),
        fewest=3,
    )
    check(suite, request, tmp_path, over_server)


#: Of kernels by the plain way it finds some "idle" that it expects to be "starting" still: a server
#: asks each kernel for its kernel_info by itself, and all clients hear of that.
_TOO_SOON = "--deselect=tests/services/sessions/test_api.py::test_modify_kernel_id"

SERVERS = replace(
    SERVER,
    options=(*SERVER.options, *([_TOO_SOON] if WAY == "plain" else [])),
    fewest=77,
    not_applicable={
        **SERVER.not_applicable,
        **dict.fromkeys(
            (
                f"tests.services.kernels.test_api.test_resolve_path_{where}[jp_server_config1]"
                for where in ("kernel", "server_and_kernel")
            ),
            _NO_DIRECTORY,
        ),
        **_by(
            "carried",
            "a carried kernel speaks with our clients itself, and its server gives it no keys",
            *(
                "tests.services.kernels.test_transport_encryption."
                f"test_transport_encryption_provisions_curve_keys[{policy}]"
                for policy in ("auto", "required")
            ),
        ),
    },
)


#: A kernel's whole life by requests to the server, a restart, an interrupt, and its websocket.
SERVERS_IN_CI = [
    "tests/services/kernels/test_api.py::test_main_kernel_handler",
    "tests/services/kernels/test_api.py::test_connection",
    "tests/services/kernels/test_restart_error.py",
]


def test_jupyter_servers_own_tests_pass(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    suite = _in_ci(SERVERS, [SERVERS_IN_CI], fewest=5)
    check(suite, request, tmp_path, over_server)
