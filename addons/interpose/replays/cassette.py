"""Answers calls from recordings: the same request gets the same answer, with the timing that it had, and nothing is
ever sent.

A request is matched by method, host, path, query and body: JSON by what it says, whatever the order of its members. If
none is the same, members that say nothing about the answer are left aside. Equal requests get the recordings of it one
after the other, then the last one again. What no recording matches is an error in the client's format, which names the
nearest recording and the first difference.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

from interpose.call import Call, Entrance, Headers, header, upgrades
from interpose.errors import Refusal
from interpose.recordings import Flaws, Recorded
from interpose.rules.problem import printable
from interpose.wire.coding import decode
from interpose.wire.error import WireError

# Members of a body, at its top, that say who asks or how it is kept, and nothing about the answer.
VOLATILE = frozenset(
    (
        "user",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "store",
        "service_tier",
        "request_id",
        "labels",
    )
)
# A key in a query is no part of what is asked: it may have been masked.
KEYS = frozenset(("key", "access_token", "api-key"))
# So many recordings of a path are compared to name the nearest one, and so much of a value is shown.
COMPARED = 200
SHOWN = 60
# orjson reads what is nested deeper than it writes.
SHALLOW = 250
_BOUNDARY = re.compile(rb"boundary=\"?([^\";,\s]+)")


@dataclass(frozen=True, slots=True)
class Place:
    """What a request is asked by, without its body. The host is left aside at the gateway: it has any name."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Take:
    """One recording that can be played."""

    call: Recorded
    host: str
    place: Place
    document: Any
    exact: bytes
    loose: bytes


@dataclass(slots=True)
class _Reel:
    """The takes of one request, in their order, and which comes next."""

    takes: list[Take] = field(default_factory=list)
    next: int = 0

    def turn(self) -> Take:
        take = self.takes[min(self.next, len(self.takes) - 1)]
        self.next += 1
        return take


Key = tuple[str, Place, bytes]
ANY_HOST = ""
# Of what was recorded at an address of our own, whose name says nothing of who answers.
AT_GATEWAY = "*"


class Cassette:
    """The recordings, by what they answer. `unplayable` says what cannot be played of them."""

    def __init__(self, calls: Iterable[Recorded]) -> None:
        self.unplayable = Flaws()
        self.hosts: set[tuple[str, str, int]] = set()
        self.takes = 0
        self._exact: dict[Key, _Reel] = defaultdict(_Reel)
        self._loose: dict[Key, _Reel] = defaultdict(_Reel)
        self._near: dict[tuple[str, Place], list[Take]] = defaultdict(list)
        for call in sorted(calls, key=lambda each: each.started_at):
            self._add(call)

    def _add(self, call: Recorded) -> None:
        if (why := unplayable(call)) is not None:
            self.unplayable.add(f"cannot be played: {why}", call.place)
            return
        take = _take(call)
        origin = call.asked.url.origin
        self.hosts.add((origin.scheme, origin.host, origin.port))
        self.takes += 1
        ours = call.entrance is Entrance.GATEWAY or on_this_machine(take.host)
        for host in (take.host, ANY_HOST, *((AT_GATEWAY,) if ours else ())):
            self._exact[host, take.place, take.exact].takes.append(take)
            self._loose[host, take.place, take.loose].takes.append(take)
            near = self._near[host, take.place]
            if len(near) < COMPARED:
                near.append(take)

    def find(self, call: Call) -> Take:
        """The recording that answers. Raises Refusal: a 404 which says why there is none."""
        if upgrades(call.headers):
            raise Refusal(404, "not_recorded", "WebSockets are not played: their messages depend on what was said.")
        assert isinstance(call.body, bytes)
        place = _place(call.method, call.url.path, call.url.query)
        document = read(call.headers, call.body)
        hosts = [call.url.origin.host]
        if call.at_gateway or on_this_machine(hosts[0]):
            # Who asks us directly, as a gateway, names us.
            hosts.append(ANY_HOST)
        hosts.append(AT_GATEWAY)
        for reels, key in ((self._exact, digest(document)), (self._loose, digest(without_volatile(document)))):
            for host in hosts:
                if (reel := reels.get((host, place, key))) is not None:
                    return reel.turn()
        raise Refusal(404, "not_recorded", self._why(hosts, place, document))

    def _why(self, hosts: Sequence[str], place: Place, document: Any) -> str:
        near = next((found for host in hosts if (found := self._near.get((host, place)))), None)
        named = "" if ANY_HOST in hosts else hosts[0]
        asked = f"{place.method} {printable(named + place.path, 200)}"
        if not near:
            known = ((where, other) for where, other in self._near if where not in (ANY_HOST, AT_GATEWAY))
            others = sorted({f"{other.method} {where}{other.path}" for where, other in known})
            if not others:
                return f"No recording answers {asked}: there is none at all."
            shown = ", ".join(printable(each, 200) for each in others[:3])
            return f"No recording answers {asked}. There are recordings of {shown}{' and others' * (len(others) > 3)}."
        nearest, differences = min(
            ((take, list(differing(take.document, document))) for take in near), key=lambda pair: len(pair[1])
        )
        path, recorded, now = differences[0] if differences else ("the body", "another", "this one")
        return (
            f"No recording answers this call of {asked}. The nearest is {printable(nearest.call.place, 200)}, which "
            f"differs at {printable(path, 200)}: recorded {recorded}, asked {now}."
        )


def on_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unplayable(call: Recorded) -> str | None:
    """Why a recording cannot be played, if it cannot."""
    if call.websocket:
        return "a WebSocket"
    if call.answered is None or call.answered.status < 100:
        return "it has no answer"
    if call.answered.body is None:
        return "its reply's body was not recorded"
    if not call.asked.whole and call.asked.method not in ("GET", "HEAD", "DELETE"):
        return "its request's body was not recorded whole"
    if call.answered.size is not None:
        return "its reply's body was not recorded whole"
    return None


def _take(call: Recorded) -> Take:
    asked = call.asked
    document = read(asked.headers, asked.body or b"")
    place = _place(asked.method, asked.url.path, asked.url.query)
    loose = digest(without_volatile(document))
    return Take(call, asked.url.origin.host, place, document, digest(document), loose)


def _place(method: str, path: str, query: str) -> Place:
    pairs = (pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in KEYS)
    return Place(method, path.rstrip("/") or "/", tuple(sorted(pairs)))


def read(headers: Headers, body: bytes) -> Any:
    """What a body says: its JSON, else its bytes; of a form without the boundary, which is another one each time."""
    coding = header(headers, b"content-encoding")
    if coding is not None:
        try:
            body = decode(body, coding.decode("latin-1"))
        except WireError:
            pass  # it was recorded decoded, or is broken alike on both sides
    try:
        document = orjson.loads(body)
        if body.count(b"[") + body.count(b"{") <= SHALLOW:
            return document
        orjson.dumps(document)
        return document
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass  # no JSON, or nested deeper than it can be written: compared by its bytes
    kind = header(headers, b"content-type") or b""
    if (found := _BOUNDARY.search(kind)) is not None:
        body = body.replace(found[1], b"boundary")
    return body


def without_volatile(document: Any) -> Any:
    if not isinstance(document, dict):
        return document
    return {name: value for name, value in document.items() if name not in VOLATILE}


def digest(document: Any) -> bytes:
    """The same for the same request, whatever the order of its members."""
    data = document if isinstance(document, bytes) else orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(data).digest()


def differing(recorded: Any, asked: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """(where, what was recorded, what is asked) of each difference, in the order of the recorded document."""
    if isinstance(recorded, Mapping) and isinstance(asked, Mapping):
        for name in [*recorded, *(name for name in asked if name not in recorded)]:
            at = f"{path}.{name}" if path else str(name)
            yield from differing(recorded.get(name, _MISSING), asked.get(name, _MISSING), at)
    elif isinstance(recorded, list) and isinstance(asked, list):
        for number in range(max(len(recorded), len(asked))):
            one = recorded[number] if number < len(recorded) else _MISSING
            other = asked[number] if number < len(asked) else _MISSING
            yield from differing(one, other, f"{path}[{number}]")
    elif recorded != asked or type(recorded) is not type(asked):
        yield path or "the body", _shown(recorded), _shown(asked)


class _Missing:
    pass


_MISSING = _Missing()


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    text = repr(value) if isinstance(value, bytes) else orjson.dumps(value).decode()
    return printable(text if len(text) <= SHOWN else text[:SHOWN] + "…", SHOWN * 2)
