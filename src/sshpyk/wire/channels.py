"""The names of the channels, each of which has a forward of its own."""

from __future__ import annotations

#: The channel of the control stream, beside the five of a kernel.
AGENT = "agent"
CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


def forward_of(channel: str) -> str:
    """The channel whose forward a carrier takes for a stream of `channel`: ports have none."""
    return channel if channel in CHANNELS else AGENT
