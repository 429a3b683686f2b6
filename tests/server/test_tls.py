"""A server with an authority of its own, that wants to see a certificate of ours."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.cli.conftest import Call, config_of, sshpyk
from tests.lab.kernels import PATIENCE

__all__ = ["sshpyk"]

SPECS = {"kernelspecs": {"python3": {"spec": {"display_name": "Python 3", "language": "python"}}}}


def make_certificate(directory: Path, name: str) -> Path:
    """A certificate that vouches for itself, and beside it its key; the certificate's path."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class Specs(RequestHandler):
    """Answers with one kernelspec, to whomever TLS lets in."""

    def get(self, what: str) -> None:
        self.finish(json.dumps(SPECS if what == "kernelspecs" else []))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the certificates of `server`, `client` and a `stranger`."""
    directory = tmp_path_factory.mktemp("tls")
    for name in ("server", "client", "stranger"):
        make_certificate(directory, name)
    return directory


@pytest.fixture(scope="module")
def server_url(certificates: Path) -> Iterator[str]:
    """Where it listens."""
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "client.pem")
    )
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    (listening,) = bind_sockets(0, "127.0.0.1")
    port = listening.getsockname()[1]
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def begin() -> HTTPServer:
        server = HTTPServer(Application([(r"/api/(.*)", Specs)]), ssl_options=context)
        server.add_sockets([listening])
        ready.set()
        return server

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(begin())
        loop.run_forever()
        server.stop()
        loop.run_until_complete(server.close_all_connections())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(PATIENCE)
    yield f"https://127.0.0.1:{port}/"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)


def test_an_authority_of_its_own_and_a_certificate_of_ours(
    server_url: str, certificates: Path, sshpyk: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.chdir(certificates)
    client = ("--client-cert", "client.pem", "--client-key", "client.key")
    done = sshpyk("add", server_url, "--all", *client)
    assert done.status == 1
    assert "can't be verified: self" in done.err
    assert f"sshpyk add {server_url} --ca FILE" in done.err, "there is no kernel to edit yet"
    command = [sys.executable, "-m", "sshpyk.cli", "ps", server_url]
    alone = subprocess.run(command, capture_output=True, text=True, check=False)
    assert alone.stderr.startswith("sshpyk: The certificate of"), "tornado's log is not for people"
    done = sshpyk("add", server_url, "--all", "--ca", "stranger.pem", *client)
    assert "can't be verified" in done.err
    done = sshpyk("add", server_url, "--all", "--ca", "server.pem")
    assert done.status == 1, "it wants a certificate"
    done = sshpyk("add", server_url, "--all", "--ca", "server.pem", *client, "--kernel-name", "tls")
    assert done.status == 0, done.err
    config = config_of("tls")
    assert config["ca"] == str(certificates / "server.pem"), "for Jupyter runs anywhere"
    assert config["client_key"] == str(certificates / "client.key")
    listed = sshpyk("list", "--remote")
    assert listed.status == 0, listed.out
    missing = sshpyk("add", server_url, "--ca", "no.pem")
    assert missing.status == 2
    assert "no.pem can't be read" in missing.err
    lonely = sshpyk("add", server_url, "--client-key", "client.key")
    assert lonely.status == 2
