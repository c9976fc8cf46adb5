"""Where a body holds what must not be kept, and the body without it.

All that is found is found in the body as it came, so that one finding hides no other; what overlaps is masked as one.
A secret that a stream tears apart, a piece in each of its events, is found by putting the pieces together again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import re2  # type: ignore[import-untyped]  # it has no type information

from interpose.masking import named
from interpose.masking.torn import Span, joined
from interpose.masking.whole import MASKED, Known

from .spellings import KEYS, pattern, spelled

# A shorter beginning of a secret, at the end of what is there, tells nobody anything.
SHORTEST_BEGINNING = 4


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is looked for: `credentials` are ours, `others` the client's keys, cookies and placeholders, `patterns` the
    rules' regular expressions.
    """

    credentials: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, known: Known, credentials: tuple[str, ...], patterns: tuple[str, ...]) -> Secrets:
        """Those of one call; `credentials` are all of this process, whoever's call it is."""
        ours = dict.fromkeys((*known.told(credential=True), *credentials))
        return cls(tuple(ours), known.told(credential=False), patterns)


@dataclass(frozen=True, slots=True)
class Found:
    """The places, in order and apart from each other, and what is there, in words: credential, secret, pattern."""

    spans: tuple[Span, ...]
    words: tuple[str, ...]


def find(body: bytes, secrets: Secrets, *, streamed: bool = False, ends: bool = True) -> Found:
    """All places of a body that are to be masked; `streamed` says that it is made of events, `ends` that it may have
    been cut off.
    """
    text = _Text(body, streamed=streamed)
    spans: list[Span] = []
    words: list[str] = []
    for word, values in (("credential", secrets.credentials), ("secret", secrets.others)):
        before = len(spans)
        for value in values:
            spans += text.places(spelled(value))
            spans += _beginning(body, value) if ends else []
        if word == "secret":
            spans += text.places(pattern(KEYS))
            spans += text.within(pattern(named.MEMBER), group=1)
            spans += text.within(pattern(named.HEADER), group=1)
            spans += text.held()
        if len(spans) > before:
            words.append(word)
    before = len(spans)
    for each in secrets.patterns:
        # A model says a word of it at a time.
        spans += text.places(pattern(each))
    if len(spans) > before:
        words.append("pattern")
    return Found(tuple(_apart(spans)), tuple(words))


def scrubbed(body: bytes, spans: Sequence[Span]) -> bytes:
    """The body with *** in those places."""
    pieces: list[bytes] = []
    at = 0
    for start, end in spans:
        pieces += body[at:start], MASKED
        at = end
    return b"".join((*pieces, body[at:])) if spans else body


def clipped(spans: Sequence[Span], limit: int) -> tuple[Span, ...]:
    """What of the places lies before `limit`."""
    return tuple((start, min(end, limit)) for start, end in spans if start < limit)


class Moved:
    """Where a place of a body is once it is scrubbed; within what was masked, at its end."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._starts = [start for start, _ in spans]
        self._spans = spans
        self._shorter = [0]
        for start, end in spans:
            self._shorter.append(self._shorter[-1] + end - start - len(MASKED))

    def at(self, place: int) -> int:
        number = bisect_right(self._starts, place - 1)
        if number and place < self._spans[number - 1][1]:
            return self._spans[number - 1][1] - self._shorter[number]
        return place - self._shorter[number]


class _Text:
    """A body, and its events' texts put together."""

    def __init__(self, body: bytes, *, streamed: bool) -> None:
        self._body = body
        self._joined = joined(body) if streamed else []

    def within(self, wanted: re2._Regexp, group: int = 0) -> list[Span]:
        """Where it stands in the body as that is."""
        return [span for span in (match.span(group) for match in wanted.finditer(self._body)) if span[0] < span[1]]

    def held(self) -> list[Span]:
        """What stands in objects that hold a secret."""
        inside = pattern(named.HELD)
        return [
            (start + first, start + last)
            for start, end in self.within(pattern(named.HOLDER))
            for first, last in (match.span(1) for match in inside.finditer(self._body[start:end]))
        ]

    def places(self, wanted: re2._Regexp) -> list[Span]:
        """The same, torn apart or not."""
        found = self.within(wanted)
        for text in self._joined:
            for match in wanted.finditer(text.text):
                found += text.spans(*match.span())
        return found


def _beginning(body: bytes, value: str) -> list[Span]:
    """The beginning of a secret at the very end: the rest was cut off."""
    secret = value.encode("utf-8", "surrogateescape")
    if secret[:SHORTEST_BEGINNING] not in body[-len(secret) :]:
        return []
    for size in range(min(len(secret) - 1, len(body)), SHORTEST_BEGINNING - 1, -1):
        if body.endswith(secret[:size]):
            return [(len(body) - size, len(body))]
    return []


def _apart(spans: list[Span]) -> Iterable[Span]:
    """In order, those that touch as one."""
    last: Span | None = None
    for start, end in sorted(spans):
        if last is None or start > last[1]:
            if last is not None:
                yield last
            last = start, end
        else:
            last = last[0], max(last[1], end)
    if last is not None:
        yield last
