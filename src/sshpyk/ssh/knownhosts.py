"""Known host keys, as ssh's known_hosts files have them. Pure.

paramiko's own reader leaves out patterns, and the marks of revoked keys with them.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A line that is about a host: a key's type and the key, whether it is `revoked`, and where
    that stands."""

    type: str
    key: bytes
    revoked: bool
    place: str


def name_of(host: str, port: int) -> str:
    """What a host is called in the files."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def find(name: str, text: str, file: str) -> list[Known]:
    """The lines of `text`, which `file` has, that are about `name`.

    Those of certificate authorities are left out: certificates of hosts are not checked by them.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        mark = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or mark == "@cert-authority":
            continue
        try:
            key = base64.b64decode(words[2], validate=True)
        except binascii.Error:
            continue
        if _matches(name, words[0]):
            found.append(Known(words[1], key, mark == "@revoked", f"{file}:{number}"))
    return found


def verdict(known: Iterable[Known], type: str, key: bytes) -> tuple[str, str]:
    """What the lines about a host say of the key that it has shown: "known", "unknown", "changed"
    or "revoked"; and which of them says so."""
    known = list(known)
    for one in known:
        if one.revoked and one.key == key:
            return "revoked", one.place
    ours = [one for one in known if not one.revoked]
    for one in ours:
        if one.type == type and one.key == key:
            return "known", one.place
    # One of another type, too: the types that are known are asked for first.
    return ("changed", ours[0].place) if ours else ("unknown", "")


def fingerprint(key: bytes) -> str:
    """A key's, as ssh shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _matches(name: str, patterns: str) -> bool:
    if patterns.startswith("|1|"):
        try:
            salt, hashed = map(base64.b64decode, patterns.split("|")[2:4])
        except (ValueError, binascii.Error):
            return False
        return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), hashed)
    is_match = False
    for pattern in patterns.lower().split(","):
        # Only * and ? have a meaning, and names have brackets.
        is_negated = pattern.startswith("!")
        if fnmatch.fnmatchcase(name, pattern.lstrip("!").replace("[", "[[]")):
            if is_negated:
                return False
            is_match = True
    return is_match
