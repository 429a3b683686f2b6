"""The last step of `sshpyk doctor`: a kernel, started as Jupyter would, and how fast it is."""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

from .. import errors
from ..jupyter.places import SHARED
from .steps import CONNECT_TIMEOUT, Step, failed
from .terminal import BAD, GOOD, INFO

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient

#: How many round trips are measured, and how many bytes of output.
ROUND_TRIPS = 20
OUTPUT = 20_000_000

#: What a Python kernel runs to send so much.
SEND = f"""
from IPython.display import publish_display_data
for _ in range({OUTPUT // 1_000_000}):
    publish_display_data({{"text/plain": "x" * 1_000_000}})
"""

#: Seconds for it.
SENT_WITHIN = 60.0


def trial(content: dict[str, Any]) -> list[Step]:
    """Start the kernel of a kernel.json, hear from it, measure it, and shut it down."""
    content = json.loads(json.dumps(content))
    config = content["metadata"]["kernel_provisioner"]["config"]
    for name in ("persistent", "persistent_file", "existing", *SHARED):
        config.pop(name, None)  # a trial ends its kernel, which must be nobody's

    class OnlyThis(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(**content)

    manager = KernelManager(kernel_name="trial", kernel_spec_manager=OnlyThis())
    client = None
    begun = time.monotonic()
    try:
        manager.start_kernel()
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=CONNECT_TIMEOUT)
        took = time.monotonic() - begun
        text = "a kernel started and answered"
        speed = _speed(client, str(content.get("language")))
        return [Step(GOOD, "Trial Launch", text, seconds=took), Step(INFO, "Kernel Speed", speed)]
    except errors.SshpykError as error:
        return [failed("Trial Launch", error, time.monotonic() - begun)]
    except (RuntimeError, TimeoutError) as error:
        fix = "See what it says there: sshpyk -vvv doctor …"
        text = f"the kernel does not answer: {error}"
        return [Step(BAD, "Trial Launch", text, fix, time.monotonic() - begun)]
    finally:
        if client is not None:
            client.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel()
        manager.context.destroy(linger=100)


def _speed(client: BlockingKernelClient, language: str) -> str:
    """A kernel's round trip and throughput, to be compared with those of ssh alone."""
    trips = []
    for _ in range(ROUND_TRIPS):
        begun = time.monotonic()
        client.kernel_info(reply=True, timeout=CONNECT_TIMEOUT)
        trips.append(time.monotonic() - begun)
    text = f"{statistics.median(trips) * 1000:.1f} ms for a request and its reply"
    if language.lower() == "python":
        begun = time.monotonic()
        client.execute_interactive(
            SEND, silent=False, output_hook=lambda message: None, timeout=SENT_WITHIN
        )
        text += f", {OUTPUT / (time.monotonic() - begun) / 1e6:.0f} MB/s of output"
    return text
