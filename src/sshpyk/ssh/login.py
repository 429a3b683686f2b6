"""Logging in by paramiko, without an ssh program. All of it blocks: it is for threads of its own.

No secret is kept: it goes from the keyring, or from a person, to the host, and to nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from getpass import getpass

import paramiko
from paramiko.ssh_exception import (
    AuthenticationException,
    BadAuthenticationType,
    ChannelException,
    PasswordRequiredException,
    SSHException,
)

from .. import errors
from . import askpass, knownhosts
from .command import Destination
from .hops import Hop

#: Bytes of a channel that may be under way: what limits it on a long link.
WINDOW = 8 * 1024 * 1024

#: Seconds between signs of life, for those on the way who forget silent connections.
KEEPALIVE = 30

#: Seconds that a person has for an answer.
PERSON_WITHIN = 120.0

#: How many methods a host may want one after the other; and how many tries end some connections
#: (MaxAuthTries), where fewer did not.
MOST_FACTORS = 3
MANY_TRIES = 5

#: paramiko says nothing but through us: it has names of files and hosts in its log.
LOG = "sshpyk.paramiko"

#: Which signature algorithms a host key of a type has.
ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


class Prompts:
    """Who answers questions: the keyring alone, or a person too (`ask`).

    With `keep`, what a person has said is kept in the keyring once it has let us in. `wrong` has
    hashes of passwords that did not: hosts lock accounts for those, so none is given again.
    """

    def __init__(
        self,
        *,
        ask: Callable[[str], str] | None = None,
        keep: bool = False,
        wrong: frozenset[int] = frozenset(),
    ) -> None:
        self._ask = ask
        self._wrong = wrong
        self._keep = keep
        self._uses_keyring = (keep or ask is None) and askpass.has_keyring()
        self._new: dict[str, str] = {}
        self.kept: list[str] = []  #: whose secrets the keyring keeps since then
        self.given: set[int] = set()  #: hashes of the passwords that the keyring gave
        self.was_asked = False  #: whether a person had to say anything

    def secret(self, question: str, name: str) -> str | None:
        """The secret of `name`; None where nobody has it."""
        if askpass.is_secret(question) and self._uses_keyring:
            import keyring

            try:
                found = keyring.get_password(askpass.SERVICE, name)
            except Exception:  # a backend may raise anything: locked, missing, no D-Bus
                found = None
            is_password = not os.path.isabs(name)
            if found is not None and hash((name, found)) not in self._wrong:
                if is_password:
                    self.given.add(hash((name, found)))
                return found
        if self._ask is None:
            return None
        self.was_asked = True
        answer = self._ask(question)
        if self._keep and answer and askpass.is_secret(question):
            self._new[name] = answer
        return answer

    def succeeded(self) -> None:
        """The login is there: what a person has said was right."""
        for name, answer in self._new.items():
            import keyring

            keyring.set_password(askpass.SERVICE, name, answer)
            self.kept.append(name)
        self._new.clear()


def at_terminal(question: str) -> str:
    """Ask the person at the terminal, who sees nothing of the answer."""
    try:
        return getpass(question)
    except EOFError:
        return ""


class Login:
    """One attempt to log in along `hops`, the last of which is the host; any thread may `abort` it.

    `accept` decides of a host key that is not known, by the name of the host, the key's type and
    its fingerprint; without it, such a key is refused.
    """

    def __init__(
        self,
        destination: Destination,
        hops: list[Hop],
        prompts: Prompts,
        *,
        timeout: float,
        accept: Callable[[str, str, str], bool] | None = None,
    ) -> None:
        self._destination = destination
        self._hops = hops
        self._prompts = prompts
        self._accept = accept
        self._deadline = time.monotonic() + timeout
        self._made: list[paramiko.Transport] = []
        self._is_aborted = threading.Event()
        self._agent: paramiko.Agent | None = None

    def run(self) -> list[paramiko.Transport]:
        """Log in; the transports of all hops, the host's last. Raises `HostError`."""
        try:
            for hop in self._hops:
                self._log_in(hop)
            self._prompts.succeeded()
            return self._made
        except BaseException:
            self.abort()
            raise
        finally:
            if self._agent is not None:
                self._agent.close()

    def abort(self) -> None:
        """Give up: what blocks ends with an error."""
        self._is_aborted.set()
        close(self._made)

    # -- one hop ---------------------------------------------------------------------------------

    @property
    def _left(self) -> float:
        by_itself = max(0.1, self._deadline - time.monotonic())
        return by_itself if self._accept is None else PERSON_WITHIN

    def _log_in(self, hop: Hop) -> None:
        known = _known(hop)
        try:
            transport = paramiko.Transport(self._connect(hop), default_window_size=WINDOW)
        except (SSHException, OSError) as error:
            raise self._error(_kind(error), str(error)) from None
        self._made.append(transport)
        transport.set_log_channel(LOG)
        transport.banner_timeout = transport.auth_timeout = self._left
        transport.use_compression(hop.compress)
        _prefer(transport, known)
        try:
            transport.start_client(timeout=self._left)
            if not transport.initial_kex_done:
                raise TimeoutError("it has not said in time who it is")
            self._check_key(hop, transport.get_remote_server_key(), known)
            transport.set_keepalive(KEEPALIVE)
            self._authenticate(hop, transport)
        except (SSHException, OSError, EOFError) as error:
            raise self._error(
                _kind(error), f"{hop.name}: {error or 'the connection ended'}"
            ) from None
        if self._is_aborted.is_set():
            raise self._error(errors.Unreachable, "no connection in time")

    def _connect(self, hop: Hop) -> socket.socket | paramiko.Channel:
        if not self._made:
            made = socket.create_connection((hop.address, hop.port), self._left)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made
        there = (hop.address, hop.port)
        return self._made[-1].open_channel(
            "direct-tcpip", there, ("127.0.0.1", 0), window_size=WINDOW, timeout=self._left
        )

    # -- its key ---------------------------------------------------------------------------------

    def _check_key(self, hop: Hop, key: paramiko.PKey, known: list[knownhosts.Known]) -> None:
        data, type = key.asbytes(), key.get_name()
        verdict, place = knownhosts.verdict(known, type, data)
        print = knownhosts.fingerprint(data)
        if verdict == "known":
            return
        shown = f"{hop.name} has shown the {type} key {print}."
        if verdict != "unknown":
            what = "revoked" if verdict == "revoked" else "another"
            details = (
                f"{shown}\nAt {place} stands that the key is {what}: that line is the old one."
            )
            raise self._error(errors.HostKeyChanged, details)
        if self._accept is None or not self._accept(hop.name, type, print):
            raise self._error(errors.HostKeyUnknown, shown)
        _remember(hop, f"{type} {key.get_base64()}")

    # -- who we are ------------------------------------------------------------------------------

    def _authenticate(self, hop: Hop, transport: paramiko.Transport) -> None:
        try:
            transport.auth_none(hop.user)
            return
        except BadAuthenticationType as error:
            allowed = list(error.allowed_types)
        tried: list[str] = []
        for _ in range(MOST_FACTORS):
            more = self._by_one_of(allowed, hop, transport, tried)
            if transport.is_authenticated():
                return
            if not more:
                break
            allowed = more
        if not transport.is_active() and len(tried) < MANY_TRIES:
            raise EOFError("the connection ended while logging in")
        tried = tried or ["nothing to try"]
        details = f"{hop.user}@{hop.name}: permission denied ({', '.join(allowed)}).\n"
        raise self._error(errors.LoginRefused, details + "\n".join(tried))

    def _by_one_of(
        self, allowed: list[str], hop: Hop, transport: paramiko.Transport, tried: list[str]
    ) -> list[str]:
        """Try the methods that are `allowed`, until one is right; those that the host wants in
        addition. What was tried goes to `tried`."""
        for method in hop.methods:
            if method in allowed and transport.is_active():
                more = self._by(method, hop, transport, tried)
                if more or transport.is_authenticated():
                    return more
        return []

    def _by(
        self, method: str, hop: Hop, transport: paramiko.Transport, tried: list[str]
    ) -> list[str]:
        if method == "publickey":
            return self._by_keys(hop, transport, tried)
        name = f"{hop.user}@{hop.key_name}"
        try:
            if method == "password":
                secret = self._prompts.secret(f"{name}'s password: ", name)
                if secret is None:
                    return []
                tried.append("a password")
                return transport.auth_password(hop.user, secret, fallback=False)

            def answer(title: str, text: str, prompts: list[tuple[str, bool]]) -> list[str]:
                found = [self._prompts.secret(f"({name}) {what}", name) for what, _ in prompts]
                if any(one is None for one in found):
                    return []  # which the host refuses
                tried.extend("an answer" for _ in found)
                return [one or "" for one in found]

            return transport.auth_interactive(hop.user, answer)
        except AuthenticationException:
            return []

    def _by_keys(self, hop: Hop, transport: paramiko.Transport, tried: list[str]) -> list[str]:
        seen: set[bytes] = set()
        for what, load in self._keys(hop):
            if not transport.is_active():
                return []
            key = load()
            if isinstance(key, str):
                tried.append(f"{what}: {key}")
                continue
            if key is None or key.asbytes() in seen:
                continue
            seen.add(key.asbytes())
            tried.append(what)
            try:
                more = transport.auth_publickey(hop.user, key)
            except SSHException:  # an agent's key may be one that signs nothing
                continue
            return list(more)
        return []

    def _keys(self, hop: Hop) -> list[tuple[str, Callable[[], paramiko.PKey | str | None]]]:
        """The keys to try, what they are called, and what loads each: the key, None where there
        is none, or why it can't be used."""
        paths = [os.path.expanduser(path) for path in hop.identities]
        named = {blob for path in paths if (blob := _public(path)) is not None}
        keys: list[tuple[str, Callable[[], paramiko.PKey | str | None]]] = []
        agents: list[paramiko.AgentKey] = []
        try:
            self._agent = self._agent or paramiko.Agent()
            agents = list(self._agent.get_keys())
        except Exception as error:  # of one key that it does not know, such as a FIDO key
            why = f"paramiko can't read its keys ({type(error).__name__})"
            keys.append(("the agent", lambda: why))
        agents.sort(key=lambda key: key.asbytes() not in named)
        for key in agents:
            if key.asbytes() in named or not hop.only_identities:
                keys.append((f"the agent's key {key.comment}", lambda key=key: key))  # type: ignore[misc]
        keys += [(f"the key {path}", lambda path=path: self._load(path)) for path in paths]  # type: ignore[misc]
        return keys

    def _load(self, path: str) -> paramiko.PKey | str | None:
        if not os.path.exists(path):
            return None
        try:
            try:
                return paramiko.PKey.from_path(path)
            except (TypeError, ValueError, PasswordRequiredException):
                secret = self._prompts.secret(f"Enter passphrase for key '{path}': ", path)
                if secret is None:
                    return "it has a passphrase, or is none that paramiko reads"
                return paramiko.PKey.from_path(path, secret.encode())  # type: ignore[arg-type]
        except Exception as error:  # cryptography raises many kinds
            return f"{type(error).__name__}, paramiko can't read it"

    def _error(self, kind: type[errors.HostError], details: str) -> errors.HostError:
        return error_for(self._destination, kind, details)


def error_for(
    destination: Destination, kind: type[errors.HostError], details: str
) -> errors.HostError:
    """An error on the way to `destination`, with the commands that help."""
    connect = destination.for_connect()
    return kind(
        host=destination.host,
        command=f"sshpyk doctor {connect}",
        connect=connect,
        ask=f"sshpyk connect {connect}",
        copy=destination.for_people(program=None),
        details=details[-2000:],
    )


def close(transports: list[paramiko.Transport]) -> None:
    """End connections, the last first. It may block for a while."""
    for transport in reversed(transports):
        with contextlib.suppress(Exception):
            transport.close()


def _kind(error: BaseException) -> type[errors.HostError]:
    if isinstance(error, socket.gaierror):
        return errors.UnknownHost
    if isinstance(error, ConnectionRefusedError):
        return errors.ConnectionRefused
    if isinstance(error, (OSError, EOFError, ChannelException)):
        return errors.Unreachable
    return errors.HostError


def _known(hop: Hop) -> list[knownhosts.Known]:
    """What the known_hosts files say of it."""
    found = []
    for path in hop.known_hosts:
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            found += knownhosts.find(hop.known_as, file.read(), path)
    return found


def _prefer(transport: paramiko.Transport, known: list[knownhosts.Known]) -> None:
    """Ask first for a key of a type that is known, as hosts have several."""
    first = [
        algorithm
        for one in known
        if not one.revoked
        for algorithm in ALGORITHMS.get(one.type, (one.type,))
    ]
    options = transport.get_security_options()
    options.key_types = tuple(sorted(options.key_types, key=lambda type: type not in first))


def _remember(hop: Hop, key: str) -> None:
    if not hop.known_hosts:
        return
    path = hop.known_hosts[0]
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    line = f"{hop.known_as} {key}\n"
    with open(os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600), "r+") as file:
        file.seek(0)
        text = file.read()
        file.write(("\n" if text and not text.endswith("\n") else "") + line)


def _public(path: str) -> bytes | None:
    """The public half of a key, from the file beside it."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"{path}.pub") as file:
        return base64.b64decode(file.read().split()[1])
    return None


logging.getLogger(LOG).addHandler(logging.NullHandler())
logging.getLogger(LOG).propagate = False
