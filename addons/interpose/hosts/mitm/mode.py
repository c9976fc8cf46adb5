"""How clients come to us: `--mode`, in mitmproxy's words, as far as it makes sense for AI calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from mitmproxy.proxy.mode_specs import TCP, ProxyMode, ReverseMode, UpstreamMode

from interpose.call import Origin
from interpose.rules.compiled import Rules
from interpose.stages.claim import Territory

# DNS, WireGuard and TUN devices carry whole networks, and raw TCP has no calls in it.
NAMES = ("regular", "upstream", "reverse", "socks5", "transparent", "local")
# These take connections from the system, not from an address of ours.
WITHOUT_ADDRESS = frozenset(("local",))


@dataclass(frozen=True, slots=True)
class Mode:
    """A mode of mitmproxy: its name and, behind a colon, what it needs to know."""

    name: str = "regular"
    data: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `regular`, `reverse:https://api.openai.com`, `upstream:http://proxy:3128`, `local:curl` …

        Raises ValueError saying what is wrong.
        """
        name, _, data = text.partition(":")
        if name not in NAMES:
            raise ValueError(f"{name!r} is no mode here; there are {', '.join(NAMES)}")
        if "@" in data and name != "local":
            raise ValueError("the address to listen on is named by --listen, a password nowhere on the command line")
        try:
            spec = ProxyMode.parse(text)
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}; see https://docs.mitmproxy.org/stable/concepts/modes/") from None
        if isinstance(spec, ReverseMode) and spec.scheme not in ("http", "https"):
            raise ValueError(f"{text!r}: a reverse proxy for AI calls stands for an http:// or https:// URL")
        return cls(name, data)

    def __str__(self) -> str:
        return f"{self.name}:{self.data}" if self.data else self.name

    @property
    def listens(self) -> bool:
        """Whether there is an address to listen on."""
        return self.name not in WITHOUT_ADDRESS

    def applied_to(self, rules: Rules) -> Rules:
        """The rules with what the mode says of the way upstream.

        Raises ValueError where both name a proxy, or where the target of a reverse proxy is no host of the rules.
        """
        spec = ProxyMode.parse(str(self))
        if isinstance(spec, UpstreamMode):
            proxy = Origin(spec.scheme, *spec.address)
            if rules.upstream.proxy not in (None, proxy):
                raise ValueError(f"--mode {self}, but upstream.proxy in the rules is {rules.upstream.proxy}: keep one")
            return replace(rules, upstream=replace(rules.upstream, proxy=proxy))
        if isinstance(spec, ReverseMode) and Territory(rules).row(*spec.address) is None:
            host, port = spec.address
            raise ValueError(
                f"--mode {self}: {host}:{port} is no host of the rules; name it there: intercept: {{hosts: […]}}"
            )
        return rules

    def spec(self, address: tuple[str, int], proxy: Origin | None) -> str:
        """The mode for mitmproxy, listening on `address`. A proxy behind us is a mode of its own there."""
        host, port = address
        if not self.listens:
            return str(self)
        if proxy is not None and self.name in ("regular", "upstream"):
            return f"upstream:{proxy}@{host}:{port}"
        return f"{self}@{host}:{port}"


def by_tcp_alone(spec: str) -> None:
    """Has mitmproxy listen by TCP alone for that mode, in this process. For an https target it would take HTTP/3, too,
    but a UDP port is one process's own.
    """
    mode = ProxyMode.parse(spec)  # the same object each time
    if isinstance(mode, ReverseMode):
        mode.transport_protocol = TCP
