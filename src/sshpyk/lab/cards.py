"""The remote kernels that Jupyter's launcher has: adding, changing and removing them.

What the commands `add`, `edit` and `delete` do, with the code behind these.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Dict, Enum, Float, Integer, List, Union

from .. import errors
from ..cli import edit, options
from ..cli.candidates import Candidate, unique
from ..cli.look import Look, destination_of
from ..jupyter import kernelspec
from ..layout import printable
from ..link.thread import io_thread
from ..ssh.aliases import hosts

if TYPE_CHECKING:
    from ..jupyter.kernelspec import LocalSpec

#: How many looks are remembered, for what is chosen of them.
KEPT = 8


def known() -> dict[str, Any]:
    """What there is to choose from: cards, hosts, and the settings that a card may have."""
    specs = [spec for spec in kernelspec.all_specs().values() if spec.is_ours]
    cards = [_card(spec) for spec in specs]
    names = [card["host"] for card in cards if card["host"]] + hosts()
    return {
        "cards": cards,
        "hosts": sorted({printable(name) for name in names}),
        "settings": [_setting(option) for option in options.declared()],
    }


def _card(spec: LocalSpec) -> dict[str, Any]:
    server = spec.config.get("server_url")
    host = str(server) if server else destination_of(spec.config).host
    return {
        "name": spec.name,
        "display_name": str(spec.content.get("display_name", spec.name)),
        "host": host,
        "config": spec.config,
    }


def _setting(option: options.Option) -> dict[str, Any]:
    trait = option.trait
    kinds = ((Bool, "bool"), (Integer, "int"), (Float, "float"), (Dict, "dict"), (Enum, "enum"))
    kind = next((name for type, name in kinds if isinstance(trait, type)), "text")
    if isinstance(trait, (List, Union)):
        kind = "list"
    choices = [str(value) for value in trait.values or ()] if isinstance(trait, Enum) else []
    help = str(trait.help)
    return {"name": option.name, "kind": kind, "choices": choices, "help": help}


def change(name: str, display_name: str, config: Mapping[str, Any]) -> list[str]:
    """Give a card this name and exactly these settings; what has changed.

    Raises `SettingsError`.
    """
    spec = edit.ours(name)
    before = dict(spec.config)
    changes = {key: value for key, value in config.items() if before.get(key) != value}
    wrong = options.check(changes)
    if wrong:
        raise errors.SettingsError(text=" ".join(wrong))
    unset = [key for key in before if key not in config]
    done = edit.change(spec, {"display_name": display_name}, changes, unset)
    if done:
        kernelspec.rewrite(spec)
    return done


def remove(name: str) -> None:
    """Remove a card. Raises `SshpykError`."""
    kernelspec.remove(edit.ours(name))


class Looks:
    """What hosts have offered lately; on the server's loop."""

    def __init__(self) -> None:
        self._looks: dict[str, Look] = {}
        self._numbers = itertools.count(1)

    def keep(self, look: Look) -> dict[str, Any]:
        """Remember a look; it, for a page."""
        id = str(next(self._numbers))
        self._looks[id] = look
        while len(self._looks) > KEPT:
            del self._looks[next(iter(self._looks))]
        offered = [_offer(look, number) for number in range(len(look.offered))]
        return {"id": id, "host": printable(look.host), "offered": offered}

    def find(self, id: str) -> Look | None:
        """The look with this id."""
        return self._looks.get(id)


def _offer(look: Look, number: int) -> dict[str, Any]:
    candidate = look.offered[number]
    return {
        "number": number,
        "kernel": printable(candidate.display_name),
        "environment": printable(candidate.environment),
        "language": printable(candidate.language),
        "version": printable(candidate.version),
        "ipykernel": printable(candidate.ipykernel),
        "path": printable(candidate.path),
        "trouble": printable(candidate.trouble),
        "installed": bool(candidate.spec),
        "display_name": printable(look.display_name_of(candidate)),
    }


async def add(look: Look, candidate: Candidate, display_name: str) -> LocalSpec:
    """Write the card of a candidate, with ipykernel put there before if need be.

    Raises `SshpykError`.
    """
    if not candidate.spec and not candidate.trouble:
        await io_thread().run(look.install(candidate))
    name = unique(look.name_of(candidate), list(kernelspec.all_specs()))
    name, content, logos = look.adding(
        candidate, name, display_name or look.display_name_of(candidate)
    )
    return await asyncio.to_thread(kernelspec.write, name, content, logos)
