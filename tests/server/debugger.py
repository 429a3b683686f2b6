"""A session of the debugger, as JupyterLab has one: by the control channel, its events on iopub."""

from __future__ import annotations

from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient

from tests.lab.kernels import PATIENCE


class Debugger:
    """One session of the Debug Adapter Protocol, over the control channel."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client
        self._asked = 0

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The body of the answer to a request, which must succeed."""
        content = self._content(command, arguments)
        answer = self._reply(self._send(content))
        assert answer["success"], answer
        body: dict[str, Any] = answer.get("body") or {}
        return body

    def attach(self) -> None:
        """Begin: from here on breakpoints can be set."""
        self.ask("initialize", adapterID="", clientID="tests", pathFormat="path")
        self.ask("attach")

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the next event of that name."""
        while True:
            message = self._client.get_iopub_msg(timeout=PATIENCE)
            content: dict[str, Any] = message["content"]
            if message["msg_type"] == "debug_event" and content["event"] == name:
                return content

    def _content(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self._asked += 1
        return {
            "type": "request",
            "seq": self._asked,
            "command": command,
            "arguments": arguments,
        }

    def _send(self, content: dict[str, Any]) -> str:
        message = self._client.session.msg("debug_request", content)
        self._client.control_channel.send(message)
        id: str = message["header"]["msg_id"]
        return id

    def _reply(self, id: str) -> dict[str, Any]:
        while True:
            reply = self._client.get_control_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == id:
                content: dict[str, Any] = reply["content"]
                return content
