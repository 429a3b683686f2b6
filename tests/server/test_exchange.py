"""Who gets what, and what becomes of requests whose answer was lost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from sshpyk.link.log import KernelLog
from sshpyk.server.exchange import SHUTDOWN, Exchange
from sshpyk.server.framing import FramingError, to_bytes, to_object
from sshpyk.server.messages import make


class Both:
    """Clients and a kernel that only write down what they get."""

    def __init__(self) -> None:
        self.at_client: list[tuple[str, bytes, str, dict[str, Any]]] = []
        self.at_kernel: list[tuple[str, str, str]] = []
        self.parents: list[str | None] = []  # what each at_client is of
        log = KernelLog(logging.getLogger("test"), "id", "host")
        self.exchange = Exchange("s", log, to_client=self._client, to_kernel=self._kernel)
        self.exchange.topic = b"topic"

    def _client(self, channel: str, to: Sequence[bytes], parts: Sequence[bytes]) -> None:
        type = to_object(parts[0])["msg_type"]
        self.at_client.append((channel, to[0], type, to_object(parts[3])))
        self.parents.append(to_object(parts[1]).get("msg_id"))

    def _kernel(self, channel: str, parts: Sequence[bytes]) -> None:
        header = to_object(parts[0])
        self.at_kernel.append((channel, header["msg_type"], header["msg_id"]))

    def ask(self, who: bytes, id: str, type: str = "execute_request", **more: Any) -> None:
        """A client sends a request on shell."""
        header = to_bytes({"msg_id": id, "msg_type": type, **more})
        self.exchange.requests.add(more.get("channel", "shell"), [who], header)

    def say(self, channel: str, type: str, to: str, **content: Any) -> str | None:
        """The kernel sends a message."""
        _, parts = make(type, content, session="k", parent=to_bytes({"msg_id": to}))
        return self.exchange.from_kernel(channel, parts)


def test_answers_go_to_who_asked_and_output_to_all() -> None:
    both = Both()
    both.ask(b"a", "1")
    both.ask(b"b", "2")
    assert both.say("iopub", "status", "2", execution_state="busy") == "busy"
    both.say("stdin", "input_request", "2")
    both.say("shell", "execute_reply", "2")
    both.say("shell", "execute_reply", "another's")
    assert [entry[:3] for entry in both.at_client] == [
        ("iopub", b"topic", "status"),
        ("stdin", b"b", "input_request"),
        ("shell", b"b", "execute_reply"),
    ]
    assert list(both.exchange.requests.open) == ["1"]
    assert both.say("iopub", "shutdown_reply", "") == SHUTDOWN
    assert both.say("iopub", "status", "", execution_state="odd") is None
    for channel, parts in (("hb", [b"{}"] * 4), ("shell", [b"{}"] * 3)):
        with pytest.raises(FramingError):
            both.exchange.from_kernel(channel, parts)


def test_what_the_kernel_is_through_with_and_has_not_answered_is_lost() -> None:
    both = Both()
    both.ask(b"a", "before")
    both.ask(b"b", "answered", "complete_request")
    both.ask(b"c", "beside", subshell_id="x")  # its subshell may be at it still
    both.say("iopub", "status", "before", execution_state="busy")
    both.exchange.tell_gap(0.0, 30.0, both.exchange.running)
    both.exchange.set_fences(True)
    ((channel, type, fence),) = both.at_kernel
    assert (channel, type) == ("shell", "kernel_info_request")
    both.ask(b"a", "after")
    both.say("shell", "complete_reply", "answered", status="ok")
    both.at_client.clear()
    both.say("shell", "kernel_info_reply", fence)
    (error, reply, status) = both.at_client
    assert reply[:3] == ("shell", b"a", "execute_reply")
    assert reply[3]["ename"] == "ConnectionLost"
    assert error[2] == "error"
    assert status[3] == {"execution_state": "idle"}
    assert list(both.exchange.requests.open) == ["beside", "after"]
    both.say("shell", "kernel_info_reply", fence)
    assert len(both.at_client) == 3, "once"


def test_whoever_asked_for_kernel_info_gets_that_which_showed_its_own_to_be_lost() -> None:
    """Clients wait for it as they start, and know no error in its place."""
    both = Both()
    both.ask(b"a", "lost", "kernel_info_request")
    both.exchange.set_fences(False)
    ((_, _, fence),) = both.at_kernel
    both.say("shell", "kernel_info_reply", fence, status="ok", protocol_version="5.3")
    assert both.at_client == [
        ("shell", b"a", "kernel_info_reply", {"status": "ok", "protocol_version": "5.3"}),
        ("iopub", b"topic", "status", {"execution_state": "idle"}),
    ]
    assert both.parents == ["lost", "lost"]
    assert not both.exchange.requests.open


def test_output_after_the_end_of_its_cell_is_told_of_too() -> None:
    """A thread that prints on: a cut may take what it says, and the gap is of that cell."""
    both = Both()
    quiet = [both.exchange.is_quiet]
    for type, content in (
        ("status", {"execution_state": "busy"}),
        ("status", {"execution_state": "idle"}),
        ("stream", {"name": "stdout", "text": "on"}),
    ):
        both.say("iopub", type, "1", **content)
        quiet.append(both.exchange.is_quiet)
    assert quiet == [True, False, True, False]
    both.at_client.clear()
    both.parents.clear()
    both.exchange.tell_gap(0.0, 30.0, both.exchange.running)
    assert both.at_client[0][2] == "stream"
    assert both.parents == ["1"]


def test_a_new_fence_takes_the_place_of_the_old() -> None:
    both = Both()
    both.ask(b"a", "1")
    both.exchange.set_fences(False)
    both.exchange.set_fences(False)
    first, second = (id for _, _, id in both.at_kernel)
    both.say("shell", "kernel_info_reply", first)
    assert both.at_client == []
    both.say("shell", "kernel_info_reply", second)
    assert both.at_client[1][:3] == ("shell", b"a", "execute_reply")
    both.at_kernel.clear()
    both.exchange.set_fences(False)
    assert both.at_kernel == [], "where nothing is open nothing is asked"


def test_a_shutdown_request_is_answered_here() -> None:
    both = Both()
    both.ask(b"a", "1", "shutdown_request", channel="control")
    (request,) = both.exchange.requests.open.values()
    assert both.exchange.answer_shutdown(request, b'{"restart": true}')
    assert not both.exchange.answer_shutdown(request, b"{}")
    assert both.at_client[0] == (
        "control",
        b"a",
        "shutdown_reply",
        {"status": "ok", "restart": True},
    )
    assert both.at_kernel == []
