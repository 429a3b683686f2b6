"""A process that copies between pairs of ports and does nothing else.

    python benchmarks/relay.py FROM:TO …

One at each end of a bare forward shows what two processes more on the way cost, whatever they do.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys


def relay(pairs: list[tuple[int, int]]) -> None:
    """Take connections on the first port of each pair, and carry them to the second."""
    poll = select.epoll()
    listeners: dict[int, tuple[socket.socket, int]] = {}
    sources: dict[int, socket.socket] = {}
    sinks: dict[int, socket.socket] = {}
    for port, target in pairs:
        listener = socket.create_server(("127.0.0.1", port))
        listeners[listener.fileno()] = listener, target
        poll.register(listener.fileno(), select.EPOLLIN)
    print("listening", flush=True)
    while True:
        for fd, _ in poll.poll():
            if fd in listeners:
                listener, target = listeners[fd]
                ends = listener.accept()[0], socket.create_connection(("127.0.0.1", target))
                for source, sink in (ends, ends[::-1]):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sources[source.fileno()], sinks[source.fileno()] = source, sink
                    poll.register(source.fileno(), select.EPOLLIN)
                continue
            data = b""
            with contextlib.suppress(ConnectionError):  # which is an end as well
                data = sources[fd].recv(256 * 1024)
                sinks[fd].sendall(data)
            if not data:
                poll.unregister(fd)
                with contextlib.suppress(OSError):
                    sinks[fd].shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    relay([(int(one), int(other)) for one, other in (pair.split(":") for pair in sys.argv[1:])])
