"""Tokens and passwords of servers: where they are kept, and how one gets at them.

A secret is in the system's keyring, or in a file that only its owner can read where there is none;
or it is in an environment variable, or a command prints it. It goes into a header of a request and
to nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shlex
import stat
import subprocess
from dataclasses import dataclass, field

from jupyter_core.paths import jupyter_data_dir, secure_write

from .. import errors
from ..private import is_private
from . import trouble
from .address import ServerAddress

#: What our entries in the keyring are filed under.
SERVICE = "sshpyk server"

#: Seconds for a command that prints a token.
COMMAND_TIMEOUT = 30.0

#: Characters of a secret.
LONGEST = 8192

TOKEN, PASSWORD, NOTHING = "token", "password", "nothing"

#: No secret, but the URL of the server that a Binder has made last.
SERVER = "server"


@dataclass(frozen=True)
class Secret:
    """What is shown to a server; `kind` is one of TOKEN, PASSWORD, NOTHING, or SERVER."""

    kind: str
    value: str = field(default="", repr=False)


async def get(address: ServerAddress) -> Secret:
    """The secret for a server. Raises `NoToken`, `SettingsError`.

    The keyring may ask a person to unlock it, so this takes as long as it takes.
    """
    if address.token_env:
        what = f"The environment variable {address.token_env}"
        return _token(os.environ.get(address.token_env, ""), what, "it is not set", address)
    if address.token_command:
        return await asyncio.to_thread(_printed, address)
    return await asyncio.to_thread(kept, address.url)


def keep(url: str, secret: Secret) -> str:
    """Keep a secret, or forget it where it is NOTHING; where it is now, for people.

    Raises `SettingsError` where it can't be kept.
    """
    _forget(url)
    if secret.kind == NOTHING:
        return "nothing"
    if importlib.util.find_spec("keyring") is not None:
        import keyring

        with contextlib.suppress(Exception):  # a backend may raise anything: locked, missing
            text = json.dumps([secret.kind, secret.value])
            keyring.set_password(SERVICE, url, text)
            if keyring.get_password(SERVICE, url) == text:
                return "the system's keyring"
    entries = _read()
    entries[url] = [secret.kind, secret.value]
    _write(entries)
    return path()


def path() -> str:
    """The file of those for whom there is no keyring."""
    return os.path.join(jupyter_data_dir(), "sshpyk", "servers.json")


def kept(url: str) -> Secret:
    """What is kept for a URL; it may take as long as a person does. Raises `SettingsError`."""
    if importlib.util.find_spec("keyring") is not None:
        import keyring

        with contextlib.suppress(Exception):
            if found := _secret(json.loads(keyring.get_password(SERVICE, url) or "null")):
                return found
    return _secret(_read().get(url)) or Secret(NOTHING)


def _secret(entry: object) -> Secret | None:
    if isinstance(entry, list) and len(entry) == 2 and all(isinstance(x, str) for x in entry):
        return Secret(*entry)
    return None


def _forget(url: str) -> None:
    if importlib.util.find_spec("keyring") is not None:
        import keyring

        with contextlib.suppress(Exception):
            keyring.delete_password(SERVICE, url)
    entries = _read()
    if entries.pop(url, None) is not None:
        _write(entries)


def _read() -> dict[str, list[str]]:
    try:
        with open(os.open(path(), os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
                raise errors.SettingsError(
                    text=f"{path()} holds tokens, and others can read it, so it is not used.",
                    advice="Have the servers give new tokens, and:",
                    command=f"chmod 600 {shlex.quote(path())}",
                )
            entries = json.load(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise errors.Unreadable(path=path(), reason=error.strerror) from None
    except (ValueError, RecursionError):
        raise errors.Unreadable(path=path(), reason="it is not JSON") from None
    return entries if isinstance(entries, dict) else {}


def _write(entries: dict[str, list[str]]) -> None:
    directory = os.path.dirname(path())
    os.makedirs(os.path.dirname(directory), exist_ok=True)
    if not is_private(directory):
        raise errors.SettingsError(
            text=f"No token can be kept in {directory}: it is not yours alone, or can't be made.",
            advice="Make it so, or name where the token is with --token-env or --token-command.",
        )
    temporary = f"{path()}.{os.getpid()}"
    with secure_write(temporary) as file:
        json.dump(entries, file)
    os.replace(temporary, path())


def _printed(address: ServerAddress) -> Secret:
    """Run the command; this thread may wait for it."""
    what = f"The command `{address.token_command}`"

    def no(why: str) -> errors.SshpykError:
        return trouble.NoToken(what=what, why=why, connect=address.login)

    try:
        done = subprocess.run(
            shlex.split(address.token_command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT,
            start_new_session=True,
            check=False,
        )
    except (OSError, ValueError) as error:
        raise no(str(error)) from None
    except subprocess.TimeoutExpired:
        raise no(f"it has not ended within {COMMAND_TIMEOUT:g} s") from None
    if done.returncode:
        raise no(f"its exit status is {done.returncode}")
    return _token(done.stdout.decode("utf-8", "replace"), what, "it printed none", address)


def _token(text: str, what: str, why: str, address: ServerAddress) -> Secret:
    token = text.strip()
    if not token:
        raise trouble.NoToken(what=what, why=why, connect=address.login)
    if not is_token(token):
        raise trouble.NoToken(what=what, why="it is no token", connect=address.login)
    return Secret(TOKEN, token)


def is_token(text: str) -> bool:
    """Whether `text` can be a token: one word that a header takes."""
    is_word = text.isascii() and text.isprintable() and " " not in text
    return is_word and 0 < len(text) <= LONGEST
