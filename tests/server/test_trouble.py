"""What users read of a server: sentences in lines that fit, complete with what is given to them."""

from __future__ import annotations

import inspect
import socket
import ssl

import pytest
from tornado.iostream import StreamClosedError
from tornado.simple_httpclient import HTTPTimeoutError

from sshpyk import errors
from sshpyk.layout import COLUMNS
from sshpyk.server import trouble
from sshpyk.server.address import ServerAddress
from sshpyk.server.rest import Server
from tests.test_errors import FIELDS

ALL = [
    kind
    for _, kind in inspect.getmembers(trouble, inspect.isclass)
    if kind.__module__ == trouble.__name__
]

MORE = {
    **FIELDS,
    "host": "hub.example.org/user/somebody@example.org",
    "url": "https://hub.example.org/user/somebody@example.org/",
    "connect": "sshpyk connect https://hub.example.org/user/somebody@example.org/",
    "location": "https://login.example.org/oauth2/authorize",
    "status": 503,
    "what": "Service Unavailable",
}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_lines_fit_and_name_a_next_step(kind: type[errors.SshpykError]) -> None:
    error = kind(**MORE)
    told = str(error).removesuffix(error.details)
    lines = [line for line in told.splitlines() if not line.startswith("    ")]
    assert all(len(line) <= COLUMNS for line in lines), lines
    assert error.what.endswith(".")
    assert error.advice or error.command
    assert kind.remote_command or "ssh " not in error.command, "no ssh leads there"
    assert error.to_json()["code"] == kind.code


def test_what_an_exception_means() -> None:
    server = Server(ServerAddress("https://h.org/"))
    verify = ssl.SSLCertVerificationError(1, "certificate verify failed")
    verify.verify_message = "self-signed certificate"
    said: dict[BaseException, type[Exception]] = {
        socket.gaierror(-2, "Name or service not known"): trouble.ServerUnknown,
        ConnectionRefusedError(111, "refused"): trouble.ServerRefused,
        verify: trouble.ServerNotTrusted,
        StreamClosedError(verify): trouble.ServerNotTrusted,
        ssl.SSLError(1, "wrong version number"): trouble.TlsFailed,
        ConnectionResetError(104, "reset"): trouble.ServerBroke,
        HTTPTimeoutError("Timeout"): trouble.ServerSilent,
    }
    for error, kind in said.items():
        meant = server.trouble_of(error)
        assert type(meant) is kind
        assert str(meant)
    assert "self-signed certificate" in str(server.trouble_of(verify))
