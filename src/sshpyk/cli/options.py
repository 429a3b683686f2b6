"""Options made from the declarations in `sshpyk.jupyter.settings`: one for each setting."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from typing import Any

from traitlets import Bool, Dict, Enum, Float, Integer, List, TraitError, TraitType, Union

from ..errors import SettingsError
from ..jupyter.settings import Settings
from ..transport.entrance import expand

#: Settings that are paths on this machine: written absolute, because Jupyter may run anywhere.
LOCAL_PATHS: tuple[str, ...] = ("ssh_config", "persistent_file")
LOCAL_PATHS += ("ca", "client_cert", "client_key")

#: Settings that are commands which lead to a place: some have a short form.
COMMANDS = ("via", "inside")


@dataclass(frozen=True)
class Option:
    """The option of one setting: `name` is its key in kernel.json, `flag` the command line's."""

    name: str
    flag: str
    trait: TraitType[Any, Any]

    @property
    def metavar(self) -> str:
        """What stands for its value in help."""
        return str(self.trait.metadata.get("metavar", "TEXT"))

    @property
    def help(self) -> str:
        """One sentence, the same as the trait's."""
        text = str(self.trait.help)
        if isinstance(self.trait, (Dict, List, Union)):
            text += " Give it once for each."
        return text

    def add_to(self, group: argparse._ActionsContainer) -> None:
        """Declare it to argparse. None stands for "not given"."""
        common: dict[str, Any] = {"dest": self.name, "default": None}
        common["help"] = self.help.replace("%", "%%")
        if isinstance(self.trait, Bool):
            group.add_argument(self.flag, action=argparse.BooleanOptionalAction, **common)
        elif isinstance(self.trait, Enum):
            group.add_argument(self.flag, choices=self.trait.values, **common)
        elif isinstance(self.trait, Dict):
            group.add_argument(
                self.flag, action="append", type=_pair, metavar=self.metavar, **common
            )
        elif isinstance(self.trait, (List, Union)):
            group.add_argument(self.flag, action="append", metavar=self.metavar, **common)
        else:
            bare = self.trait.metadata.get("bare")
            if bare is not None:
                common.update(nargs="?", const=bare)
            group.add_argument(self.flag, type=self._type, metavar=self.metavar, **common)

    @property
    def _type(self) -> Any:
        if isinstance(self.trait, Integer):
            return _whole_number
        return number if isinstance(self.trait, Float) else line

    def value(self, given: Any) -> Any:
        """The value for kernel.json of what argparse has read."""
        if isinstance(self.trait, Dict):
            return dict(given)
        if self.name in LOCAL_PATHS and given:
            return os.path.abspath(os.path.expanduser(given))
        if self.name in COMMANDS:
            return expand(given) or given
        return given


def declared() -> list[Option]:
    """The options of all settings that have one, in the order of their declaration."""
    known = Settings.class_traits(config=True)
    traits = [
        (name, known[name]) for part in Settings.mro() for name in vars(part) if name in known
    ]
    return [
        Option(name, trait.metadata.get("option", "--" + name.replace("_", "-")), trait)
        for name, trait in traits
        if trait.metadata.get("option", "") is not None
    ]


def add_all(parser: argparse.ArgumentParser) -> None:
    """Add every setting's option, and those that stand for one."""
    group = parser.add_argument_group("settings of the kernel")
    for option in declared():
        option.add_to(group)
        if option.name == "remote_python":
            group.add_argument(
                "--remote-python-prefix",
                type=line,
                metavar="DIR",
                help="The same as --remote-python DIR/bin/python.",
            )


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line gives, as kernel.json has them.

    Raises `SettingsError` where they contradict each other.
    """
    config = {
        option.name: option.value(getattr(arguments, option.name))
        for option in declared()
        if getattr(arguments, option.name) is not None
    }
    prefix = arguments.remote_python_prefix
    if prefix is not None:
        if "remote_python" in config:
            raise SettingsError(text="Give --remote-python or --remote-python-prefix, not both.")
        config["remote_python"] = prefix.rstrip("/") + "/bin/python"
    return config


def named(text: str) -> Option | None:
    """The option that a person means by `text`: a flag, with or without dashes, or a key."""
    wanted = text.lstrip("-").replace("-", "_")
    for option in declared():
        if wanted in (option.name, option.flag.lstrip("-").replace("-", "_")):
            return option
    return None


def check(config: dict[str, Any]) -> list[str]:
    """What is wrong with the settings of a kernel.json: one sentence each."""
    wrong = []
    traits = Settings.class_traits(config=True)
    for name, value in config.items():
        if name not in traits:
            wrong.append(f"{name}: sshpyk has no such setting.")
            continue
        try:
            # Each value is tried on an object of its own, so that no other has to be right.
            setattr(Settings(), name, value)
        except TraitError:
            wanted = type(traits[name]).__name__
            wrong.append(f"{name}: {value!r} is not what it takes ({wanted}).")
    return wrong


def line(text: str) -> str:
    """An argument without control characters: a name, a path."""
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise argparse.ArgumentTypeError(f"{text!r} has control characters")
    return text


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or "\0" in value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def number(text: str) -> float:
    """An argument that is a number, not below zero."""
    if not re.fullmatch(r"\d{1,18}(\.\d*)?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return float(text)
