"""Many kernels on one host: one master, one attempt to reconnect at a time, nothing left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient

from tests.faults.ways import Way, params, to_host
from tests.lab.kernels import PATIENCE, left_behind, many

pytestmark = [pytest.mark.sshd, pytest.mark.slow, pytest.mark.timeout(400)]

COUNT = 50

#: Seconds for all of them to start: they share two cores.
START = 200


@asynccontextmanager
async def client_of(manager: Any) -> AsyncIterator[AsyncKernelClient]:
    """A client that is ready."""
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=PATIENCE)
        yield client
    finally:
        client.stop_channels()


async def ask(client: AsyncKernelClient, code: str, **expressions: str) -> dict[str, Any]:
    """Run `code`; the reply's content, with the values of the expressions."""
    id = client.execute(code, user_expressions=expressions)
    while True:
        reply = await client.get_shell_msg(timeout=START)
        if reply["parent_header"].get("msg_id") == id:
            content: dict[str, Any] = reply["content"]
            return content


@pytest.fixture(params=params())
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    """With sshd's default limits: MaxSessions 10, MaxStartups 10:30:100."""
    with to_host(request.param, tmp_path) as way:
        way.write_spec("far", launch_timeout=START)
        yield way


def test_fifty_kernels_start_at_once_reconnect_and_end(host: Way, tmp_path: Path) -> None:
    link, chain = host.link, host.chain
    has_master = "master" in host.parts
    is_server = "helper" in host.parts
    # A command logs in for each program.
    trying = "master" if has_master else "program"

    async def work() -> None:
        async with many() as multi:
            begun = time.monotonic()
            ids = await asyncio.gather(
                *(multi.start_kernel(kernel_name="far") for _ in range(COUNT))
            )
            managers = [multi.get_kernel(id) for id in ids]
            started = time.monotonic() - begun
            if is_server:
                assert len(chain.pids("helper")) == 1  # a request has a connection of its own
            else:
                assert link.connections == 1 or host.name == "via"
            assert is_server or len(chain.pids("master")) == has_master
            pids = await asyncio.gather(*(pid_of(manager) for manager in managers))
            assert len(set(pids)) == COUNT
            answered = time.monotonic() - begun

            before = link.connections
            most = await lose(managers)
            assert most <= 1, "two attempts at once"
            attempts = link.connections - before
            begun = time.monotonic()
            again = await asyncio.gather(*(pid_of(manager) for manager in managers))
            back = time.monotonic() - begun
            assert again == pids
            assert is_server or len(chain.pids("master")) == has_master

            begun = time.monotonic()
            await multi.shutdown_all()
            ended = time.monotonic() - begun
            print(
                f"\n{COUNT} kernels: started in {started:.1f} s, answered after {answered:.1f} s; "
                f"{attempts} connections in an outage of 6 s, at most {most} at once, "
                f"all there after {back:.1f} s; ended in {ended:.1f} s"
            )

    async def lose(managers: list[Any]) -> int:
        """A hole of six seconds in which every connection is cut; how many tried at once."""
        link.hole()
        link.cut()
        most = 0
        until = time.monotonic() + 6
        while time.monotonic() < until:
            if is_server:  # its websocket is of this very process
                most = max(most, link.live)
                await asyncio.sleep(0.02)
            else:
                most = max(most, len(await asyncio.to_thread(chain.pids, trying)))
        assert all([await manager.is_alive() for manager in managers])
        link.heal()
        return most

    async def pid_of(manager: Any) -> str:
        async with client_of(manager) as client:
            content = await ask(client, "import os", pid="os.getpid()")
            assert content["status"] == "ok"
            text: str = content["user_expressions"]["pid"]["data"]["text/plain"]
            return text

    asyncio.run(work())
    assert left_behind(tmp_path) == []


def test_an_interrupt_does_not_wait_behind_another_kernels_output(host: Way) -> None:
    async def work() -> None:
        async with many() as multi:
            busy, other = [
                multi.get_kernel(await multi.start_kernel(kernel_name="far")) for _ in range(2)
            ]
            async with client_of(busy) as pouring, client_of(other) as waiting:
                pouring.execute(
                    "from IPython.display import display\n"
                    "for _ in range(500): display({'text/plain': 'x' * 2**20}, raw=True)"
                )
                # Until it is interrupted.
                sleeping = asyncio.create_task(ask(waiting, "import time; time.sleep(10**6)"))
                received = 0
                has_begun = asyncio.Event()

                async def read() -> None:
                    nonlocal received
                    while received < 500:
                        message = await pouring.get_iopub_msg(timeout=PATIENCE)
                        received += message["msg_type"] == "display_data"
                        if received == 50:
                            has_begun.set()

                reading = asyncio.create_task(read())
                await has_begun.wait()
                await other.interrupt_kernel()
                assert (await sleeping)["ename"] == "KeyboardInterrupt"
                print(f"\nthe interrupt was over after {received} of 500 MB")
                # Behind it, it would be so when all had come.
                assert received < 400
                await reading

    asyncio.run(work())
