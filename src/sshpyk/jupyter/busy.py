"""A kernel that was there already may be busy, and Jupyter Server would not let a browser in.

Before the first websocket it asks the kernel for its `kernel_info`, on the shell channel, and waits
a minute for the answer (`ZMQChannelsWebsocketConnection.request_kernel_info`, of jupyter_server
2.21). A busy kernel answers on the control channel alone. So we ask there, and leave the answer
where the server looks for one that it was given before.
"""

from __future__ import annotations

import concurrent.futures
from typing import Any

import zmq.asyncio

from ..aio import within

#: Seconds for the answer; kernels that read both channels by one thread have none while busy.
PATIENCE = 2.0

#: Where Jupyter Server has the answer: an attribute of the kernel's manager.
PLACE = "_kernel_info_future"


async def introduce(manager: Any, url: str) -> None:
    """Tell the Jupyter Server of `manager` about its kernel, whose control channel is at `url`."""
    try:
        content = await within(PATIENCE, _ask(manager.session.clone(), manager.context, url))
    except (TimeoutError, zmq.ZMQError, ValueError, KeyError):
        return  # it asks by itself, then
    known: concurrent.futures.Future[dict[str, Any]] = concurrent.futures.Future()
    known.set_result(content)
    setattr(manager, PLACE, known)


async def _ask(session: Any, context: zmq.Context[Any], url: str) -> dict[str, Any]:
    with zmq.asyncio.Context(context).socket(zmq.DEALER) as sock:
        sock.linger = 0
        sock.connect(url)
        asked = session.msg("kernel_info_request")
        await sock.send_multipart(session.serialize(asked))
        while True:
            _, frames = session.feed_identities(await sock.recv_multipart())
            answer = session.deserialize(frames)
            if answer["parent_header"].get("msg_id") == asked["header"]["msg_id"]:
                content: dict[str, Any] = answer["content"]
                return content
