"""Connections of a program under `interpose run` that go past the proxy: what ignores it is seen, and named.

The system is asked now and then which connections the program's processes have, so a short one may be missed: what
is found is a lower bound.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from interpose.call import bracketed

# Often at first, when programs connect; then seldom enough to cost nothing.
LOOKS = (0.1, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Past:
    """Where a process of the program has connected without us."""

    process: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.process} to {bracketed(self.host)}:{self.port}"


class Lookout:
    """Watches one process and its descendants until it is cancelled; `found` holds what went past us, and on how many
    connections.
    """

    def __init__(self, pid: int, ports: Iterable[int]) -> None:
        self._pid = pid
        self._ports = frozenset(ports)
        self._seen: set[tuple[int, object, object]] = set()
        self.found: Counter[Past] = Counter()

    async def watch(self) -> None:
        pauses = iter(LOOKS)
        while True:
            await asyncio.sleep(next(pauses, LOOKS[-1]))
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """One look at the connections that there are now. Never raises for a process that ends meanwhile."""
        try:
            root = psutil.Process(self._pid)
            family = [root, *root.children(recursive=True)]
        except psutil.Error:
            return
        for process in family:
            try:
                name, connections = process.name(), process.net_connections("tcp")
            except (psutil.Error, OSError):
                continue
            for each in connections:
                remote: tuple[object, ...] = each.raddr
                if not remote or each.raddr.port not in self._ports or not elsewhere(each.raddr.ip):
                    continue
                key = (process.pid, each.laddr, each.raddr)
                if key not in self._seen:
                    self._seen.add(key)
                    self.found[Past(name, each.raddr.ip, each.raddr.port)] += 1


def elsewhere(host: str) -> bool:
    """Whether that address is not of this machine: a loopback one is our proxy's, or a server of the program's own."""
    try:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not address.is_loopback


def told(found: Counter[Past], limit: int = 5) -> list[str]:
    """What a person should know of it, the most frequent first."""
    if not found:
        return []
    total = sum(found.values())
    lines = [
        f"{total} connection{'s' * (total != 1)} went past the proxy, which the program ignores there: nothing of it "
        "was caught"
    ]
    lines += [f"  {past}" + (f" ({count} times)" if count > 1 else "") for past, count in found.most_common(limit)]
    if len(found) > limit:
        lines.append(f"  and {len(found) - limit} more")
    lines.append("  `interpose doctor` tells which runtimes need help; `--mode local` catches what ignores proxies")
    return lines
