"""A keyring for tests: its entries are in the file that FAKE_KEYRING names."""

from __future__ import annotations

import json
import os

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError


class Fake(KeyringBackend):
    """Chosen with PYTHON_KEYRING_BACKEND=tests.cli.fake_keyring.Fake."""

    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        return read().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        write({**read(), f"{service} {username}": password})

    def delete_password(self, service: str, username: str) -> None:
        entries = read()
        if entries.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError(username)
        write(entries)


def read() -> dict[str, str]:
    """The entries."""
    try:
        with open(os.environ["FAKE_KEYRING"]) as file:
            entries: dict[str, str] = json.load(file)
    except OSError:
        return {}
    return entries


def write(entries: dict[str, str]) -> None:
    """Put others in their place."""
    with open(os.environ["FAKE_KEYRING"], "w") as file:
        json.dump(entries, file)
