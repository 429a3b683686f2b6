"""The reference of commands and settings, docs/reference.rst, made from their declarations.

    python -m sshpyk.cli.reference > docs/reference.rst

A test holds the file against this.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator

from traitlets import Bool, Dict, Enum, Float, Integer, List, Unicode, Union

from . import COMMANDS, make_parser
from .described import FORMATS, VERSION, Field
from .options import Option, declared

HEAD = """\
Reference
=========

.. Made by ``python -m sshpyk.cli.reference > docs/reference.rst``; don't edit it by hand.

Exit statuses of all commands: 0 done; 1 a problem of the host, the network or the kernel (``list``
and ``doctor``: something is marked ``(x)``; ``run``: a cell raised, and 3 for the others); 2 a
mistake in the call; 130 interrupted by Ctrl+C.

Every command also takes ``-h``, and ``-v``, ``-vv`` or ``-vvv`` to log more.

Commands
--------
"""

JSON = f"""\
JSON
----

What ``--json`` writes. Each object has ``version``, which is {VERSION}: it changes when something
is taken away or gets another meaning, not when something is added. Moments are in seconds since
1970. What is marked with ? may be null.
"""

SETTINGS = """
Settings
--------

What ``sshpyk add`` and ``sshpyk edit`` write into kernel.json, under
``metadata.kernel_provisioner.config``. The same names are traits of ``SSHKernelProvisioner`` for
Jupyter's configuration files (``c.SSHKernelProvisioner.lease = 3600``).
"""

KINDS = (
    (Bool, "yes or no"),
    (Integer, "whole number"),
    (Float, "number"),
    (Enum, "one of a few"),
    (Dict, "names and values"),
    (List, "list"),
    (Union, "list of lines, or one text"),
    (Unicode, "text"),
)


def make() -> str:
    """The whole file."""
    return (
        "\n".join([HEAD, *_commands(), JSON, *_formats(), SETTINGS, *_settings()]).rstrip() + "\n"
    )


def _commands() -> Iterator[str]:
    parser = make_parser(*COMMANDS)
    subparsers = next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    of_settings = {option.flag for option in declared()}
    for name, sub in subparsers.choices.items():
        title = f"sshpyk {name}"
        yield f"{title}\n{'~' * len(title)}\n"
        yield f"{_paragraphs(sub.description or '')}\n"
        others = [action for action in sub._actions if action.help != argparse.SUPPRESS]
        has_all = of_settings <= {flag for action in others for flag in action.option_strings}
        for action in others:
            flags = action.option_strings
            if "--help" in flags or "--verbose" in flags or (has_all and of_settings & set(flags)):
                continue
            yield f"``{_spelled(action)}``\n{_set(_help(action))}\n"
        if has_all:
            yield "and an option for each of the Settings_ below.\n"


def _paragraphs(text: str) -> str:
    lines = text.strip().splitlines()
    # What is set apart in help is set apart here.
    return "\n".join(f"| {line}" if "  " in line.strip() else line for line in lines)


def _spelled(action: argparse.Action) -> str:
    if not action.option_strings:
        metavar = action.metavar if isinstance(action.metavar, str) else action.dest
        if action.choices is not None:
            metavar = "|".join(map(str, action.choices))
        return {"?": f"[{metavar}]", "*": f"[{metavar} …]", "+": f"{metavar} …"}.get(
            str(action.nargs), metavar
        )
    value = ""
    if action.nargs != 0:
        named = action.metavar or action.dest.upper()
        value = f" {named}" if isinstance(named, str) else f" {' '.join(named)}"
    return ", ".join(action.option_strings) + value


def _help(action: argparse.Action) -> str:
    text = (action.help or "") % {"default": action.default}
    if not text:
        return "\\"  # its name says it all
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _set(text: str) -> str:
    """A definition, in lines that fit, with what reStructuredText would read otherwise escaped."""
    text = text.replace("*", "\\*").replace("`", "``")
    indent = " " * 4
    return textwrap.fill(text, 96, initial_indent=indent, subsequent_indent=indent)


def _formats() -> Iterator[str]:
    for command, (words, fields) in FORMATS.items():
        title = f"sshpyk {command} --json"
        yield f"{title}\n{'~' * len(title)}\n"
        yield f"{words}\n"
        yield from _fields(fields, "")
        yield ""


def _fields(fields: tuple[Field, ...], indent: str) -> Iterator[str]:
    for field in fields:
        mark = "?" if field.key.endswith("?") else ""
        yield f"{indent}* ``{field.key.rstrip('?')}``{mark}: {field.words}"
        if field.parts:
            yield ""
            yield from _fields(field.parts, indent + "  ")
            yield ""


def _settings() -> Iterator[str]:
    for option in declared():
        trait = option.trait
        yield f"``{option.name}`` (``{_form(option)}``)"
        kind = next(text for cls, text in KINDS if isinstance(trait, cls))
        if isinstance(trait, Enum):
            kind = "one of " + ", ".join(map(str, trait.values or ()))
        default = trait.default_value
        is_said = isinstance(default, (bool, int, float)) and default is not False
        more = f"; default {default}" if is_said else ""
        yield _set(f"{trait.help} ({kind[0].upper()}{kind[1:]}{more}.)") + "\n"


def _form(option: Option) -> str:
    if isinstance(option.trait, Bool):
        return f"{option.flag}, --no-{option.flag[2:]}"
    if isinstance(option.trait, Enum):
        return f"{option.flag} {'|'.join(map(str, option.trait.values or ()))}"
    return f"{option.flag} {option.metavar}"


if __name__ == "__main__":
    sys.stdout.write(make())
