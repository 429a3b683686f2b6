"""Kernels of a Jupyter Server: carried, by the plain way, over ssh, and by jupyter_server's own
gateway client, which is what one has without sshpyk. Side by side, on this machine.

The floor of the first two is "websocket": a client that does nothing but count what comes.

    python -m benchmarks.servers [--runs N] [--megabytes N]

Figures of one run are comparable with each other and with nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sshpyk.server import rest
from sshpyk.server.address import ServerAddress
from sshpyk.server.channels import Channels
from sshpyk.server.messages import make
from tests.faults.ways import CarriedWay, to_server
from tests.jupyter.server import Server
from tests.lab.kernels import PATIENCE, write_spec
from tests.lab.link import Link
from tests.lab.sshd import Sshd
from tests.server.servers import remote, write_card

from .places import Started

ROUND_TRIPS = 100
MANY = 10

#: Seconds of latency, one way, by which round trips are counted: a start takes less.
FAR = 0.25

BULK = """
from IPython.display import display
for _ in range({count}): display({{"application/octet-stream": "x" * 1_000_000}}, raw=True)
"""


@contextlib.contextmanager
def by_name(name: str) -> Iterator[Started]:
    kernel = Started(name)
    try:
        yield kernel
    finally:
        kernel.end()


def measure(name: str, megabytes: int) -> list[float]:
    """First reply, round trip (ms), throughput (MB/s), and ten kernels at once, of a kernelspec."""
    with by_name(name) as kernel:
        client = kernel.client
        times = []
        for _ in range(ROUND_TRIPS):
            begun = time.perf_counter()
            client.kernel_info(reply=True, timeout=PATIENCE)
            times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        came = 0

        def count(message: dict[str, Any]) -> None:
            nonlocal came
            if message["msg_type"] == "display_data":
                came += 1

        client.execute_interactive(
            BULK.format(count=megabytes), output_hook=count, timeout=10 * PATIENCE
        )
        took = time.perf_counter() - begun
        assert came == megabytes
    return [kernel.seconds, 1e3 * statistics.median(times), megabytes / took, many_of(name)]


def many_of(name: str) -> float:
    """Seconds until ten kernels that start at once have had their first reply."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(MANY) as pool:
        kernels = list(pool.map(Started, [name] * MANY))
        took = time.perf_counter() - begun
        list(pool.map(Started.end, kernels))
    return took


async def at_once(ones: list[Callable[[], Any]]) -> float:
    """Seconds until all have had their first reply."""
    begun = time.perf_counter()
    ends = await asyncio.gather(*(one() for one in ones))
    took = time.perf_counter() - begun
    await asyncio.gather(*(end() for end in ends))
    return took


def gateway(url: str, megabytes: int) -> list[float]:
    """The same by jupyter_server's gateway client."""
    from jupyter_server.gateway import gateway_client, managers

    # Upstream's have no types that are of use here.
    make_manager: Any = managers.GatewayKernelManager
    settings: Any = gateway_client.GatewayClient.instance()
    settings.url = url
    settings.init_connection_args()

    async def start() -> tuple[Any, Any]:
        manager = make_manager()
        await manager.start_kernel(kernel_name="python3")
        client = manager.client()
        await client.start_channels()
        await reply_to(client, client.kernel_info())
        return manager, client

    async def reply_to(client: Any, id: str) -> None:
        while True:
            reply = await client.shell_channel.get_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == id:
                return

    async def end(manager: Any, client: Any) -> None:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)

    async def one() -> Callable[[], Any]:
        manager, client = await start()
        return lambda: end(manager, client)

    async def bulk(client: Any) -> float:
        """MB/s; 0 where its connection was closed before all had come."""
        begun = time.perf_counter()
        id = client.execute(BULK.format(count=megabytes))
        came = 0
        while True:
            try:
                message = await client.iopub_channel.get_msg(timeout=PATIENCE)
            except RuntimeError as error:  # "Response router had finished"
                print(f"the gateway client had {came} of {megabytes} MB: {error}")
                return 0.0
            if message["parent_header"].get("msg_id") != id:
                continue
            came += message["msg_type"] == "display_data"
            if message["content"].get("execution_state") == "idle":
                assert came == megabytes
                return megabytes / (time.perf_counter() - begun)

    async def work() -> list[float]:
        begun = time.perf_counter()
        manager, client = await start()
        first = time.perf_counter() - begun
        times = []
        for _ in range(ROUND_TRIPS):
            begun = time.perf_counter()
            await reply_to(client, client.kernel_info())
            times.append(time.perf_counter() - begun)
        speed = await bulk(client)
        await end(manager, client)
        return [
            first,
            1e3 * statistics.median(times),
            speed,
            await at_once([one] * MANY),
        ]

    return asyncio.run(work())


def websocket(jupyter: Server, megabytes: int) -> list[float]:
    """The same by a websocket alone, without ZMQ or anything else at this end."""
    server = rest.Server(
        ServerAddress(f"http://127.0.0.1:{jupyter.port}/", token_env="SERVER_TOKEN")
    )
    session = uuid.uuid4().hex

    async def start() -> tuple[str, Channels, asyncio.Queue[tuple[str, list[bytes]]]]:
        model = await server.ask("POST", "kernels", body={"name": "python3"}, timeout=PATIENCE)
        id = server.kernel_id(model)
        came: asyncio.Queue[tuple[str, list[bytes]]] = asyncio.Queue()

        def take(channel: str, parts: list[bytes]) -> None:
            came.put_nowait((channel, parts))

        channels = Channels(take, lambda: None, lambda why: None, lambda: None)
        await channels.open(server, id, session, timeout=PATIENCE)
        await trip(channels, came)
        return id, channels, came

    async def trip(
        channels: Channels, came: asyncio.Queue[tuple[str, list[bytes]]], code: str = ""
    ) -> int:
        """A request and its reply, or a cell until it is idle; how many outputs came."""
        kind, content = "kernel_info_request", {}
        if code:
            kind, content = "execute_request", {"code": code, "silent": False}
        id, parts = make(kind, content, session=session)
        channels.send("shell", parts)
        outputs = 0
        while True:
            channel, parts = await asyncio.wait_for(came.get(), PATIENCE)
            outputs += b'"display_data"' in parts[0]
            is_idle = channel == "iopub" and b'"idle"' in parts[3][:100]
            if id.encode() in parts[1] and (is_idle if code else channel == "shell"):
                return outputs

    async def end(id: str, channels: Channels) -> None:
        channels.close()
        await server.ask("DELETE", "kernels", id, timeout=PATIENCE)

    async def one() -> Callable[[], Any]:
        id, channels, _ = await start()
        return lambda: end(id, channels)

    async def work() -> list[float]:
        begun = time.perf_counter()
        id, channels, came = await start()
        first = time.perf_counter() - begun
        times = []
        for _ in range(ROUND_TRIPS):
            begun = time.perf_counter()
            await trip(channels, came)
            times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        assert await trip(channels, came, BULK.format(count=megabytes)) == megabytes
        speed = megabytes / (time.perf_counter() - begun)
        await end(id, channels)
        return [first, 1e3 * statistics.median(times), speed, await at_once([one] * MANY)]

    return asyncio.run(work())


def own_start(url: str) -> float:
    """Seconds in which the server starts a kernel for somebody who only asks it to."""
    server = rest.Server(ServerAddress(url, token_env="SERVER_TOKEN"))

    async def work() -> float:
        begun = time.perf_counter()
        model = await server.ask("POST", "kernels", body={"name": "python3"}, timeout=PATIENCE)
        took = time.perf_counter() - begun
        await server.ask("DELETE", "kernels", server.kernel_id(model), timeout=PATIENCE)
        return took

    return asyncio.run(work())


def first_reply(name: str) -> float:
    """Seconds of a start until its first reply."""
    with by_name(name) as kernel:
        return kernel.seconds


def trips_of_starts(port: int, runs: int) -> dict[str, float]:
    """Round trips that a start takes more than the server's own, by the way; each a median.

    Where a helper kernel is there already: the first carried start of a process has to wait for it.
    """
    with Link(port) as link:
        url = f"http://127.0.0.1:{link.port}/"
        write_card("far plain", url)
        write_card("far carried", url, server_way="carried")
        with by_name("far carried"):
            seconds: list[list[float]] = []
            for delay in (0.0, FAR):
                link.set_delay(delay)
                rows = [
                    [own_start(url), first_reply("far plain"), first_reply("far carried")]
                    for _ in range(runs)
                ]
                seconds.append([statistics.median(column) for column in zip(*rows, strict=True)])
            link.set_delay(0.0)
    own, plain, carried = ((far - near) / (2 * FAR) for near, far in zip(*seconds, strict=True))
    return {"plain": plain - own, "carried": carried - own}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=200)
    options = parser.parse_args()
    os.environ.setdefault("SSHPYK_FORK_SERVER", "0")
    found: dict[str, list[list[float]]] = {}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp"))
        for name in ("RUNTIME", "DATA", "CONFIG"):
            os.environ[f"JUPYTER_{name}_DIR"] = os.path.join(directory, name.lower())
        homes = [Path(directory) / name for name in ("far", "host", "open")]
        for home in homes:
            home.mkdir()
        way: CarriedWay = stack.enter_context(to_server(homes[0]))
        way.link.port = way.jupyter.port  # nothing between: it would hide the acknowledgements
        way.write_spec("carried")
        way.write_spec("plain", server_way="plain")
        # The websocket of the gateway client shows no token.
        without = ("--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True")
        open_server = stack.enter_context(remote(homes[2], *without))
        host = stack.enter_context(Sshd(home=homes[1]))
        write_spec("ssh", host)
        for _ in range(options.runs):
            for name in ("python3", "carried", "plain", "ssh"):
                found.setdefault(name, []).append(measure(name, options.megabytes))
            row = websocket(way.jupyter, options.megabytes)
            found.setdefault("websocket", []).append(row)
            row = gateway(f"http://127.0.0.1:{open_server.port}", options.megabytes)
            found.setdefault("gateway client", []).append(row)
        trips = trips_of_starts(way.jupyter.port, options.runs)
    print(f"{'':16}{'first reply':>14}{'round trip':>14}{'200 MB':>14}{'ten at once':>14}")
    for name, rows in found.items():
        first, trip, speed, many = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:16}{first:12.2f} s{trip:11.1f} ms{speed:9.0f} MB/s{many:12.2f} s")
    for name, count in trips.items():
        print(f"a start takes {count:.1f} round trips more than the server's own: {name}")


if __name__ == "__main__":
    main()
