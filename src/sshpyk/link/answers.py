"""What a host answers, looked at before it is used: it may be hostile, or its files broken.

Every function returns what it was given, or raises `StrangeAgent`.
"""

from __future__ import annotations

import re
from typing import Any

from .. import errors
from ..wire.channels import AGENT, CHANNELS

#: Characters of a path, and of other texts that stand in one line.
LONGEST = 4096

#: What may be a machine's name: nothing that a shell would obey where a ProxyCommand gets it.
NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")

#: What may be the path of a socket. No colon, which ssh would take for the end of a forward's part.
SOCKET = re.compile(r"/[^:\s\x00-\x1f\x7f]{1,106}")

_TEXTS = ("name", "display_name", "language", "interrupt_mode", "cwd", "home")


def listening(host: str, value: object) -> dict[str, str | int]:
    """Where an agent listens: for each channel a socket's path, or a port of loopback."""
    channels = (*CHANNELS, AGENT)
    if not isinstance(value, dict) or not set(channels) <= set(value):
        raise _strange(host, "it does not say where it listens")
    for channel in channels:
        address = value[channel]
        is_port = type(address) is int and 0 < address < 65536
        if not is_port and not (isinstance(address, str) and SOCKET.fullmatch(address)):
            raise _strange(host, f"it listens at {address!r:.80}, where nothing can")
    return {channel: value[channel] for channel in channels}


def launched(host: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of the job "launch"."""
    listening(host, answer.get("listening"))
    _node(host, answer)
    if not isinstance(answer.get("bytecode"), str):
        raise _strange(host, "it does not say what its Python reads")
    kernel(host, answer.get("kernel"))
    return answer


def kernel(host: str, value: object) -> dict[str, Any]:
    """What an agent says of its kernel."""
    if not isinstance(value, dict) or type(value.get("pid")) is not int:
        raise _strange(host, "it does not say what its kernel is")
    for name in _TEXTS:
        if not isinstance(value.get(name), str) or len(value[name]) > LONGEST:
            raise _strange(host, f"its kernel's {name} is no text")
    if not isinstance(value.get("bound"), bool) or not isinstance(value.get("curve"), bool):
        raise _strange(host, "it does not say what its kernel is")
    if value.get("exited") is not None:
        exited(host, value["exited"])
    return value


def exited(host: str, value: object) -> dict[str, Any]:
    """How a kernel ended."""
    if isinstance(value, dict):
        numbers = [value.get("code"), value.get("signum")]
        texts = [value.get("stderr"), value.get("note")]
        if all(n is None or type(n) is int for n in numbers) and all(
            isinstance(text, str) for text in texts
        ):
            return value
    raise _strange(host, "it does not say how its kernel ended")


def probed(host: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of the job "probe"."""
    _node(host, answer)
    if answer.get("alive"):
        record = answer.get("record")
        listening(host, record.get("listening") if isinstance(record, dict) else None)
    ended = answer.setdefault("ended", None)
    answer.setdefault("alive", None)
    if ended is not None:
        at = ended.get("at") if isinstance(ended, dict) else None
        why = ended.get("why") if isinstance(ended, dict) else None
        if not isinstance(at, (int, float)) or not 0 <= at < 1e11 or not isinstance(why, str):
            raise _strange(host, "it does not say how its kernel ended")
        if ended.get("exited") is not None:
            exited(host, ended["exited"])
        ended.setdefault("exited", None)
    return answer


def existing(host: str, answer: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The record and the keys of a kernel that runs already, in an answer of the job "launch"."""
    record, keys = answer.get("existing"), answer.get("keys")
    if not isinstance(record, dict) or not isinstance(keys, dict):
        raise _strange(host, "it does not say which kernel it has")
    if not all(isinstance(record.get(name), str) and record[name] for name in ("id", "token")):
        raise _strange(host, "it does not say which kernel it has")
    if not all(isinstance(text, str) and text.isascii() for text in keys.values()):
        raise _strange(host, "its kernel's keys are none")
    if not {"key", "signature_scheme"} <= set(keys):
        raise _strange(host, "its kernel's keys are none")
    listening(host, record.get("listening"))
    _node(host, record)
    return record, keys


def _node(host: str, answer: dict[str, Any]) -> None:
    node, boot_id = answer.get("host"), answer.get("boot_id")
    if not isinstance(node, str) or not NODE.fullmatch(node):
        raise _strange(host, f"it calls its machine {node!r:.80}")
    if not isinstance(boot_id, str) or len(boot_id) > LONGEST:
        raise _strange(host, "it does not say since when its machine runs")


def _strange(host: str, what: str) -> errors.StrangeAgent:
    return errors.StrangeAgent(host=host, what=what)
