"""What was sent upstream, beside what was asked: where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from interpose.recordings import Answered, Asked, Recorded, Sent
from interpose.transcripts.documents import pretty
from interpose.wire.error import WireError

from .comparing import lines_changed

# Headers in which the two always differ, or which only tell how the body went.
_OF_CONNECTION = frozenset(
    (b"host", b"connection", b"content-length", b"transfer-encoding", b"accept-encoding", b"date", b"user-agent")
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One attempt. `facts` are (what, asked, sent); `diff` is that of the bodies as JSON, `body` is the one that was
    sent where it has little in common with what was asked; `reply` is what came back, where the client got something
    else. `same` says that it was sent as it was asked.
    """

    attempt: int
    facts: tuple[tuple[str, str, str], ...] = ()
    diff: tuple[str, ...] = ()
    body: Any = None
    reply: Any = None
    status: int | None = None

    @property
    def same(self) -> bool:
        return not (self.facts or self.diff or self.body is not None)


def differences(call: Recorded) -> list[Difference]:
    return [_difference(call, sent) for sent in call.sent]


def _difference(call: Recorded, sent: Sent) -> Difference:
    asked, there = call.asked, sent.asked
    before, now = content(asked), content(there)
    diff: tuple[str, ...] = ()
    body = None
    if before is not None and now is not None and before != now:
        old, new = document(before), document(now)
        if _related(old, new):
            diff = lines_changed(pretty(old).split("\n"), pretty(new).split("\n"))
        else:
            body = new
    reply = None
    if sent.answered is not None and call.answered is not None:
        got, given = content(sent.answered), content(call.answered)
        if got is not None and got != given:
            reply = document(got)
    status = sent.answered.status if sent.answered is not None else None
    return Difference(sent.attempt, tuple(_facts(asked, there)), diff, body, reply, status)


def _facts(asked: Asked, sent: Asked) -> Iterator[tuple[str, str, str]]:
    if asked.method != sent.method:
        yield "method", asked.method, sent.method
    if str(asked.url) != str(sent.url):
        yield "URL", str(asked.url), str(sent.url)
    before, now = ({name.lower(): value for name, value in each.headers} for each in (asked, sent))
    for name in dict.fromkeys((*before, *now)):
        if name not in _OF_CONNECTION and before.get(name) != now.get(name) and now:
            yield name.decode("latin-1"), _shown(before.get(name)), _shown(now.get(name))


def _shown(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")[:500]


def _related(old: Any, new: Any) -> bool:
    """Whether two bodies are of one format: they share most of their keys."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return isinstance(old, str) and isinstance(new, str)
    return len(old.keys() & new.keys()) * 2 >= len(old.keys() | new.keys())


def content(message: Asked | Answered) -> bytes | None:
    """The body, without its coding where that can be undone."""
    try:
        return message.content()
    except WireError:
        return message.body


def document(body: bytes) -> Any:
    """A body as JSON, else as text."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
