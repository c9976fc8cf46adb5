"""Routes that this version can only refuse: from known hosts to a provider that cannot take any of their calls.

The engine refuses each such call (`stages.conversion`); here the rules are refused before any call is made. Nothing is
said of a route that carries some of its calls, nor of one that names no hosts, globs over hosts, or unknown hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Self

from interpose.formats import FORMATS
from interpose.formats.conversions import Asked, carries
from interpose.formats.dialects import WITHOUT_RESPONSES, Address
from interpose.formats.hosts import HostRow, lookup

from . import urls
from .document import Document
from .patterns import AnyOf, is_glob
from .problem import BadValue
from .support import at

# Where the pattern of a path (`formats.paths`) stops being literal.
_OPEN = re.compile(r"[{*]")
_MODEL = re.compile(r"\{\w*model\}")


@dataclass(frozen=True, slots=True)
class _Target:
    """What matters of a provider."""

    address: Address
    host: str

    @classmethod
    def read(cls, data: object, name: object) -> Self | None:
        """The provider of that name; None if there is none or if it is wrong, which is said elsewhere."""
        for _, provider in at(data, ("providers", name)) if isinstance(name, str) else ():
            if not isinstance(provider, dict):
                continue
            format_, dialect, url = (provider.get(key) for key in ("format", "dialect", "base_url"))
            if isinstance(format_, str) and format_ in FORMATS and isinstance(url, str):
                try:
                    base = urls.base_url(url)
                except BadValue:
                    continue
                known = lookup(base.origin.host, base.origin.port)
                spoken = dialect if isinstance(dialect, str) else known.dialect if known is not None else None
                responses = provider.get("responses", spoken not in WITHOUT_RESPONSES)
                return cls(Address(format_, spoken, base.path, responses=responses is not False), base.origin.host)
        return None


class _Offer(NamedTuple):
    """A path that a host answers at. `model` is what its URL names: some model, or none."""

    format: str
    endpoint: str
    pattern: str
    wire: str
    model: str | None

    def goes_to(self, target: _Target) -> bool:
        """Whether its calls can be carried to that provider: as they are, or converted."""
        return carries(self.endpoint, Asked(self.format, self.wire, self.model), target.address)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which calls of a host a route asks for.

    A host that offers other formats beside its own (api.anthropic.com has OpenAI's chat completions too) is judged by
    its own, unless the route chooses by path (`chosen`).
    """

    endpoints: AnyOf | None
    paths: AnyOf | None
    chosen: bool

    @classmethod
    def read(cls, match: dict[str, object], unless: object) -> Self:
        endpoints, paths = (_texts(match.get(name)) for name in ("endpoint", "path"))
        spared = isinstance(unless, dict) and not unless.keys().isdisjoint(("endpoint", "path"))
        return cls(AnyOf(endpoints) if endpoints else None, AnyOf(paths) if paths else None, bool(paths) or spared)

    def offered(self, row: HostRow, *, beside: bool) -> Iterator[_Offer]:
        """What the host answers, in its own format or, if `beside`, in any."""
        for mount in row.mounts:
            if not beside and mount.surface.format != row.format:
                continue
            for path in mount.surface.paths:
                pattern = mount.prefix + path.pattern
                if self.endpoints is not None and not self.endpoints.accepts(path.endpoint):
                    continue
                if self.paths is not None and not self._may_take(pattern):
                    continue
                # InvokeModel is judged by the model that can be converted: the call decides.
                model = "claude" if _MODEL.search(pattern) else None
                yield _Offer(path.format or mount.surface.format, path.endpoint, pattern, path.wire, model)

    def _may_take(self, pattern: str) -> bool:
        """Whether a path of that pattern may be one that the route chooses; surely not is False."""
        assert self.paths is not None
        if not _OPEN.search(pattern):
            return self.paths.accepts(pattern) or self.paths.accepts(f"{pattern}/")
        begin = _OPEN.split(pattern, maxsplit=1)[0].removesuffix("/")
        wanted = (re.split(r"[*?\[]", text, maxsplit=1)[0] for text in self.paths.texts)
        return any(want.startswith(begin) or begin.startswith(want) for want in wanted)


def check(document: Document) -> None:
    """Reports each route, at its provider, of which no call can be carried out."""
    routes = document.data.get("routes") if isinstance(document.data, dict) else None
    for index, route in enumerate(routes if isinstance(routes, list) else ()):
        if not isinstance(route, dict) or not isinstance(match := route.get("match"), dict):
            continue
        hosts, asked = _hosts(match), _Asked.read(match, route.get("except"))
        named = (at(route, (side, "provider"), ("routes", index)) for side in ("to", "fallback"))
        for path, name in chain.from_iterable(named):
            target = _Target.read(document.data, name)
            if target is None or not hosts:
                continue
            refusals = [_refusal(host, target, asked) for host in hosts]
            certain = [refusal for refusal in refusals if refusal is not None]
            if len(certain) == len(refusals):
                needed = list(dict.fromkeys(what for what, _ in certain))
                verb = "is" if len(needed) == 1 else "are"
                hint = next((hint for _, hint in certain if hint), "")
                document.report(path, f"{' and '.join(needed)} {verb} not supported in this version", hint)


def _hosts(match: dict[str, object]) -> list[str]:
    """The hosts that a match names, in canonical form; none if one of them is a glob or malformed."""
    given = match.get("host")
    texts = _texts(given)
    if any(map(is_glob, texts)) or (isinstance(given, list) and len(texts) < len(given)):
        return []
    try:
        return [urls.host(text) for text in texts]
    except BadValue:
        return []


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(text for text in values if isinstance(text, str))


def _refusal(host: str, target: _Target, asked: _Asked) -> tuple[str, str] | None:
    """What every call of the host would need at the provider, and a hint; None if that is nothing or not certain."""
    if host == target.host:
        return None
    row = lookup(host, 443)
    if row is not None:
        offered = list(asked.offered(row, beside=asked.chosen)) or list(asked.offered(row, beside=True))
        if offered and not any(each.goes_to(target) for each in offered):
            formats = [each.format for each in offered]
            spoken = row.format if row.format in formats else formats[0]
            return f"conversion from {spoken} to {target.address.format}", _beside(row, target, asked)
    return None


def _beside(row: HostRow, target: _Target, asked: _Asked) -> str:
    """How to choose the calls of a host that are in the provider's format already, if it offers any."""
    for each in asked.offered(row, beside=True):
        if not _OPEN.search(each.pattern) and each.goes_to(target):
            return f'only its calls in that format can go there: narrow `match` by path: "{each.pattern}*"'
    return ""
