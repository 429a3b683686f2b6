"""Who is at the other end of a connection?

A port on 127.0.0.1 is open to every user of the machine, so before anything is said on a connection
Linux is asked whose it is. Elsewhere, and where Linux is not allowed to tell, the token (or, for
Jupyter's own sockets, the HMAC key) is the only door, as it always is the real one.

And a path or port that an agent has left is free for others, who could wait there for its client.
So the agent proves that it knows the token, before the client says anything but its hello
and what every client of Jupyter's begins with.
"""

from __future__ import annotations

import _socket
import os
import struct

try:
    from _blake2 import blake2b  # without hashlib, which brings OpenSSL into every agent's memory
except ImportError:
    from hashlib import blake2b

from .sockets import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Tuple

#: The header of a netlink message: its length, type, flags, number and sender.
_HEADER = struct.Struct("=IHHII")
_BY_FAMILY, _REQUEST, _ERROR = 20, 1, 2
_SOCK_DIAG = 4

#: "The socket with just these ends": family, protocol, what else, states; ports and addresses in
#: network order; interface, and a cookie that nobody knows.
_WANTED = struct.Struct("=BBBxI2s2s16s16sIII")

#: What comes back: state and the ends again, timers and queues; then the owner and the inode.
_FOUND = struct.Struct("=4x48x12xII")

#: Process, user and group of the other end of a unix socket.
_CREDENTIALS = struct.Struct("=iII")


def proof(token: str, nonce: str) -> bytes:
    """What only who knows the token can answer to a hello with this nonce."""
    key = token.encode("utf-8", "replace")[: blake2b.MAX_KEY_SIZE]
    return blake2b(nonce.encode("utf-8", "replace"), digest_size=32, key=key).digest()


def is_stranger(sock: Any) -> bool:
    """Whether another user, who is not root, has the other end of `sock`, or nobody any more.

    False where the system does not tell: what is on another machine, systems other than Linux.
    """
    if sock.family not in (_socket.AF_INET, _socket.AF_INET6):
        return False
    try:
        here, there = sock.getsockname(), sock.getpeername()
    except OSError:
        return True  # nobody any more
    return _owner(sock.family, there, here) not in (None, 0, os.getuid())


def is_taken(address: Tuple[str, int]) -> bool:
    """Whether another user listens at `address` of IPv4 loopback; False if that is unknown."""
    return _owner(_socket.AF_INET, address, ("0.0.0.0", 0)) not in (None, -1, 0, os.getuid())


def owner_of(address: Tuple[str, int]) -> Optional[int]:
    """The user id of who listens at `address` of loopback, v4 or v6; None if unknown."""
    is_v6 = ":" in address[0]
    family = _socket.AF_INET6 if is_v6 else _socket.AF_INET
    uid = _owner(family, address, ("::" if is_v6 else "0.0.0.0", 0))
    return None if uid == -1 else uid


def holders_of(address: Tuple[str, int]) -> List[int]:
    """The processes of ours that have the socket that listens at `address` of IPv4 loopback; none
    if that is unknown."""
    try:
        found = _ask(_socket.AF_INET, address, ("0.0.0.0", 0))
        target = f"socket:[{found[1]}]" if found is not None else ""
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except (OSError, AttributeError, struct.error):
        return []
    return [pid for pid in pids if target and _has_open(pid, target)]


def _has_open(pid: int, target: str) -> bool:
    files = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(files):
            try:
                if os.readlink(files + "/" + name) == target:
                    return True
            except OSError:
                pass  # it was closed just now
    except OSError:
        pass  # it has ended, or is another user's
    return False


def listener_uid(sock: Any) -> Optional[int]:
    """The user id of who listens where the unix socket `sock` is connected; None if unknown."""
    try:
        found = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(found)[1])
    except (OSError, AttributeError, struct.error):
        return None


def _owner(family: int, there: Tuple[Any, ...], here: Tuple[Any, ...]) -> Optional[int]:
    """The user id of the process that has the socket with the ends `there` and `here`.

    -1 where it was closed; None if unknown.
    """
    try:
        found = _ask(family, there, here)
    except (OSError, AttributeError, struct.error):
        return None
    return None if found is None else found[0]


def _ask(family: int, there: Tuple[Any, ...], here: Tuple[Any, ...]) -> Optional[Tuple[int, int]]:
    """The user id, -1 where it was closed, and the inode; None if unknown."""
    if family == _socket.AF_INET6 and there[0].startswith("::ffff:"):
        family = _socket.AF_INET  # the kernel looks for it among those
        here, there = (here[0][7:], here[1]), (there[0][7:], there[1])
    if not (there[0].startswith("127.") or there[0] in ("::1", here[0])):
        return None  # it is not on this machine
    addresses = [_socket.inet_pton(family, end[0]).ljust(16, b"\0") for end in (there, here)]
    ports = [struct.pack("!H", end[1]) for end in (there, here)]
    no_cookie = 0xFFFFFFFF
    wanted = _WANTED.pack(
        family, _socket.IPPROTO_TCP, 0, 0xFFFFFFFF, *ports, *addresses, 0, no_cookie, no_cookie
    )
    with Socket(_socket.AF_NETLINK, _socket.SOCK_RAW, _SOCK_DIAG) as netlink:
        netlink.settimeout(1.0)  # it answers within the call that asks
        head = _HEADER.pack(_HEADER.size + len(wanted), _BY_FAMILY, _REQUEST, 0, 0)
        netlink.sendto(head + wanted, (0, 0))
        answer = netlink.recv(8192)
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None
    uid, inode = _FOUND.unpack_from(answer, _HEADER.size)
    return (int(uid) if inode else -1), int(inode)
