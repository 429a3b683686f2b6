"""The hosts that ssh's configuration names, to be offered to people."""

from __future__ import annotations

import glob
import os
import re
import shlex

#: Files that an `Include` may lead to, and how deep: a loop must end.
MOST_FILES = 100
DEEPEST = 16


def hosts(config: str | None = None) -> list[str]:
    """The host aliases of ssh's configuration; patterns are none.

    `config` is a path, None for those that ssh reads by itself.
    """
    paths = [config] if config else ["~/.ssh/config", "/etc/ssh/ssh_config"]
    found: dict[str, None] = {}
    seen: set[str] = set()
    for path in paths:
        _read_hosts(os.path.expanduser(path), found, seen, 0)
    return list(found)


def _read_hosts(path: str, found: dict[str, None], seen: set[str], depth: int) -> None:
    if path in seen or depth > DEEPEST or len(seen) >= MOST_FILES:
        return
    seen.add(path)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        # As ssh reads it: the keyword, then blanks or an equals sign, then words, perhaps quoted.
        keyword, _, rest = re.sub(r"[\s=]+", " ", line.strip(), count=1).partition(" ")
        try:
            words = shlex.split(rest, comments=True)
        except ValueError:
            continue
        if keyword.lower() == "host":
            found.update((word, None) for word in words if not re.search(r"[*?!]", word))
        elif keyword.lower() == "include":
            for word in words:
                # Relative ones are relative to ssh's own directory, wherever the file is.
                base = "/etc/ssh" if path.startswith("/etc/ssh") else os.path.expanduser("~/.ssh")
                for name in sorted(glob.glob(os.path.join(base, os.path.expanduser(word)))):
                    _read_hosts(name, found, seen, depth + 1)
