"""Which process of this machine has opened a connection to us, by the addresses of its two ends.

On Linux the kernel is asked for that one socket (reading /proc/net/tcp costs 5 ms), and its owner is found among
/proc/*/fd, the likeliest processes first; elsewhere psutil looks. What was found out about a process is kept while it
lives. Nothing here ever fails: a process that cannot be told (another user's, in another container, gone already) is
None.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import psutil
from cachetools import LRUCache

from .commandline import scrub_command

Address = tuple[str, int]

LINUX = sys.platform == "linux"

# One socket by its two ends, from the kernel: https://man7.org/linux/man-pages/man7/sock_diag.7.html
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBBBI")  # inet_diag_req_v2: family, protocol, extensions, padding, states
_ENDS = struct.Struct("!HH16s16s")  # inet_diag_sockid: its own port, the peer's, its own address, the peer's …
_PLACE = struct.Struct("=III")  # … the interface that it is bound to, if any, and a cookie
_ANY_COOKIE = (0xFFFFFFFF, 0xFFFFFFFF)
_INODE = struct.Struct("=I")
# Where inet_diag_msg has the ports (of both ends), and the inode: behind the ends (48), expires, rqueue, wqueue, uid.
_PORTS = struct.Struct("!HH")
_PORTS_AT = _HEADER.size + 4
_INODE_AT = _PORTS_AT + 48 + 16

# Programs that run another one, which people mean: by the name of the executable without its version.
INTERPRETERS = frozenset(("python", "pypy", "node", "ruby", "perl", "php", "bun", "deno", "bash", "sh", "uv"))


@dataclass(frozen=True, slots=True)
class Process:
    """A process: the name that a person has for it, its owner, and its command line without secrets."""

    pid: int
    name: str
    user: str
    command: str


class Processes:
    """Finds processes by their connections to us, in threads of its own: the event loop never waits for /proc."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(2, "interpose-process")
        # Both threads use what follows.
        self._lock = Lock()
        # A process by its pid and its start, since pids come again.
        self._known: LRUCache[tuple[int, float], Process] = LRUCache(512)
        # Who has connected lately is likely to do so again.
        self._lately: LRUCache[int, None] = LRUCache(64)

    async def find(self, client: Address, server: Address, *, here: bool = False) -> Process | None:
        """The process at the client's end of a connection, `client` and `server` as our end of it sees them.

        None for a client elsewhere, and for a process that cannot be told. `here` says that it is one of this machine,
        whatever its address looks like.
        """
        if not here and not _loopback(client[0]) and client[0] != server[0]:
            return None
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self.look, client, server)
        except RuntimeError:
            return None  # the pool is closed: we are ending

    async def named(self, pid: int) -> Process | None:
        """The process of that pid; None if it has ended."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._describe, pid)
        except (RuntimeError, OSError, psutil.Error):
            return None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def look(self, client: Address, server: Address) -> Process | None:
        """As `find`, now and here."""
        try:
            pid = self._owner_on_linux(client, server) if LINUX else _owner(client, server)
            return None if pid is None else self._describe(pid)
        except (OSError, ValueError, psutil.Error):
            return None

    def _describe(self, pid: int) -> Process:
        process = psutil.Process(pid)
        key = (pid, process.create_time())
        with self._lock:
            known = self._known.get(key)
        if known is None:
            with process.oneshot():
                arguments = process.cmdline() or [process.name()]
                # On Linux the name is that of the first thread, which Node since 22 calls (node-)MainThread.
                name = process.name()
                executable = process.exe() if name.endswith("MainThread") else name
                known = Process(pid, app_name(executable, arguments), process.username(), scrub_command(arguments))
            with self._lock:
                self._known[key] = known
        return known

    def _owner_on_linux(self, client: Address, server: Address) -> int | None:
        inode = _inode(client, server)
        if inode is None:
            return None
        link = f"socket:[{inode}]"
        with self._lock:
            lately = list(self._lately)
        for pid in (*reversed(lately), *_newest_first(frozenset(lately))):
            if _has_open(pid, link):
                with self._lock:
                    self._lately[pid] = None
                return pid
        return None


def _inode(client: Address, server: Address) -> int | None:
    """The inode of the socket whose own address is `client` and whose peer is `server`.

    A socket that is bound to an interface is found by that alone: `--mode local` binds all that it brings here.
    """
    interfaces = (0, *(index for index, name in socket.if_nameindex() if name.startswith("tun")))
    return next((inode for each in interfaces if (inode := _inode_at(client, server, each)) is not None), None)


def _inode_at(client: Address, server: Address, interface: int) -> int | None:
    (ours, port), (theirs, peer_port) = _plain(client), _plain(server)
    family = socket.AF_INET6 if ":" in ours else socket.AF_INET
    ends = _ENDS.pack(port, peer_port, socket.inet_pton(family, ours), socket.inet_pton(family, theirs))
    ends += _PLACE.pack(interface, *_ANY_COOKIE)
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ends
    header = _HEADER.pack(_HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        kernel.send(header + request)
        answer = kernel.recv(8192)
    if _HEADER.unpack_from(answer)[1] != SOCK_DIAG_BY_FAMILY or len(answer) < _INODE_AT + _INODE.size:
        return None  # NLMSG_ERROR: there is no such socket in this network namespace
    if _PORTS.unpack_from(answer, _PORTS_AT) != (port, peer_port):
        return None  # for a connection that is no more, the kernel names whoever listens on that port by now
    inode: int = _INODE.unpack_from(answer, _INODE_AT)[0]
    return inode or None


def _newest_first(known: frozenset[int]) -> Iterator[int]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    return (pid for pid in sorted(pids, reverse=True) if pid not in known)


def _has_open(pid: int, link: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(folder)
    except OSError:
        return False
    for descriptor in descriptors:
        try:
            if os.readlink(f"{folder}/{descriptor}") == link:
                return True
        except OSError:
            continue
    return False


def _owner(client: Address, server: Address) -> int | None:
    """By psutil, which asks for every connection of the machine, or where that is not allowed, of each process."""
    wanted = (_plain(client), _plain(server))
    try:
        everything: Iterable[tuple[int | None, object, object]] = [
            (each.pid, each.laddr, each.raddr) for each in psutil.net_connections("tcp")
        ]
    except psutil.AccessDenied:
        everything = _of_each_process()
    for pid, laddr, raddr in everything:
        if laddr and raddr and (_plain(tuple(laddr)), _plain(tuple(raddr))) == wanted:  # type: ignore[arg-type]  # psutil's named tuples
            return pid
    return None


def _of_each_process() -> Iterator[tuple[int | None, object, object]]:
    for process in psutil.process_iter():
        try:
            for each in process.net_connections("tcp"):
                yield process.pid, each.laddr, each.raddr
        except (psutil.Error, OSError):
            continue


def _plain(address: Address) -> Address:
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return str(ip), address[1]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(_plain((host, 0))[0]).is_loopback
    except ValueError:
        return False


def app_name(executable: str, arguments: Sequence[str]) -> str:
    """What a person calls a process: `curl`, `python`, or the tool that an interpreter runs by its installed name.

    `python3.13 app.py` is python, for scripts are many and their names say little; `python /usr/bin/llm` is llm.
    """
    name = os.path.basename(executable).lower().removesuffix(".exe")
    plain = re.sub(r"[\d.]+$", "", name).rstrip("-_.") or name
    if plain in INTERPRETERS and len(arguments) > 1:
        if arguments[1] == "-m" and len(arguments) > 2:
            return arguments[2].partition(".")[0][:64]
        script = arguments[1]
        base = os.path.basename(script)
        if "/" in script and "." not in base and base and not script.startswith("-"):
            return base[:64]
    return plain[:64]
