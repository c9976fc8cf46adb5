"""What became of one call, kept with its flow for the views: its record, what went upstream, and what came back.

All of it stands in the flow's metadata, in plain values: it lives as long as the flow, counts for what mitmweb keeps,
and is there again when a saved flow is loaded. No credential is in it (law 6). A body that is the flow's own is not
kept a second time.
"""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields
from typing import Any

from mitmproxy import ctx, http
from mitmproxy import flow as mitm_flow
from mitmproxy.hooks import UpdateHook

from interpose.call import Headers, header
from interpose.engine.witness import Witness
from interpose.ir.losses import Loss
from interpose.ledger import Record
from interpose.masking.whole import Known
from interpose.secret import Scrubber
from interpose.transcripts.recognising import recognise

from . import remarks
from .tee import Tee, masked

# Of a call that is sent again and again, the first attempts and the last one.
MOST_ATTEMPTS = 4
# What the chain needs of a record says nothing of the call.
_NOT_SHOWN = frozenset(("writer", "seq", "prev_hash", "hash"))
_SHOWN = tuple(field.name for field in fields(Record) if field.name not in _NOT_SHOWN)


class Passing:
    """A body on its way, in pieces: its beginning, and what tells whether it is the same as another one."""

    def __init__(self, limit: int) -> None:
        self.tee = Tee(limit)
        self._sum = 0
        self._let_pass = False

    def add(self, data: bytes) -> None:
        if not self._let_pass:
            self.tee.add(data)
            self._sum = zlib.crc32(data, self._sum)

    def let_pass(self) -> None:
        """It passes as it comes: nothing of it need be kept, or looked at, any more."""
        self._let_pass, self.tee = True, Tee(0)

    def same(self, other: Passing) -> bool:
        return self._let_pass or (self.tee.size, self._sum) == (other.tee.size, other._sum)


class Seen(Witness):
    """The witness of one call, for the flow that it is shown in: `body` is the call's, `limit` bounds what is kept of
    each.
    """

    def __init__(self, flow: http.HTTPFlow, body: bytes | AsyncIterator[bytes], scrubber: Scrubber, limit: int) -> None:
        self._flow = flow
        self._body = body
        self._scrubber = scrubber
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._known: Known | None = None
        self._sent: dict[int, dict[str, Any]] = {}
        self._received: dict[int, dict[str, Any]] = {}
        self._arriving: dict[int, Passing] = {}
        self._told = Passing(0)
        remarks.begin(flow)

    def begun(self, known: Known) -> None:
        self._known = known

    def sent(self, attempt: int, method: str, url: str, headers: Headers, body: bytes | None) -> None:
        if len(self._sent) >= MOST_ATTEMPTS:
            self._sent.pop(max(self._sent))
        entry: dict[str, Any] = {
            "attempt": attempt,
            "method": method,
            "url": self._clean(url),
            "headers": self._pairs(headers),
        }
        self._sent[attempt] = entry
        if body is not None and body != self._body:
            entry |= {"body": self._masked(body[: self._limit], cut=len(body) > self._limit), "size": len(body)}

    def received(self, attempt: int, status: int, headers: Headers) -> None:
        if len(self._received) >= MOST_ATTEMPTS:
            self._arriving.pop(last := max(self._received), None)
            self._received.pop(last)
        self._received[attempt] = {"attempt": attempt, "status": status, "headers": self._pairs(headers)}
        self._arriving[attempt] = Passing(self._limit)

    def arrived(self, attempt: int, chunk: bytes) -> None:
        if (body := self._arriving.get(attempt)) is not None:
            body.add(chunk)

    def answered(self, status: int, headers: Headers) -> None:
        if status < 400 and (model := header(headers, b"x-interpose-model")) is not None:
            route = header(headers, b"x-interpose-route") or b""
            shown = model if self._known is None else self._known.masked(model)
            remarks.say(self._flow, remarks.under_way(shown.decode("latin-1"), route.decode("latin-1")))

    def told(self, chunk: bytes) -> None:
        first = self._told.tee.size == 0
        self._told.add(chunk)
        if first:
            for body in self._arriving.values():
                if body.same(self._told):
                    # Nothing was converted: a session may last for hours, and all of it would be held.
                    body.let_pass()
                    self._told.let_pass()

    def settled(self, record: Record, losses: Sequence[Loss]) -> None:
        """The prices' thread says so where these are still being read."""
        if threading.get_ident() == self._thread:
            self._settle(record)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, record)

    def _settle(self, record: Record) -> None:
        kept = remarks.ours(self._flow)
        kept["record"] = {
            name: self._clean(value) if isinstance(value, str) else value
            for name in _SHOWN
            if (value := getattr(record, name)) is not None
        }
        kept["sent"] = list(self._sent.values())
        kept["received"] = [self._with_body(entry) for entry in self._received.values()]
        self._arriving.clear()
        converted = remarks.converted(record) or self._converted()
        remarks.say(self._flow, self._clean(remarks.words(record)), remarks.mark(record, converted=converted))
        # A hook of the flow's shows it to everybody; where its client has gone, there has been the last one.
        ctx.master.addons.trigger(UpdateHook([self._flow]))

    def _converted(self) -> bool:
        """Whether what went upstream is of another format than what was asked, though a family of formats has one name:
        Responses that go to Chat Completions, Claude's API in a cloud.
        """
        changed = [entry for entry in self._sent.values() if "body" in entry]
        if not changed:
            return False
        request = self._flow.request
        asked = recognise(request.method, request.url).codec
        sent = recognise(changed[-1]["method"], changed[-1]["url"]).codec
        # Not by their names, for an envelope has that of the format inside.
        return asked is not None and sent is not None and asked is not sent

    def _with_body(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What came of that attempt's body, unless it is what the client was told: that is the flow's."""
        body = self._arriving[entry["attempt"]]
        if body.same(self._told):
            return entry
        pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in entry["headers"])
        shown = body.tee.content()
        clean = masked(shown, http.Headers(pairs), self._scrubber, cut=body.tee.cut)
        return {
            **entry,
            "body": self._masked(shown if clean is None else clean),
            "size": body.tee.size,
            "decoded": clean is not None,
        }

    def _pairs(self, headers: Headers) -> list[list[str]]:
        return [[name.decode("latin-1"), self._clean(value.decode("latin-1"))] for name, value in headers]

    def _clean(self, text: str) -> str:
        return self._scrubber.scrub(text)

    def _masked(self, body: bytes, *, cut: bool = False) -> bytes:
        body = self._scrubber.scrub_bytes(body, cut=cut)
        return body if self._known is None else self._known.masked(body)


def weight(flow: mitm_flow.Flow) -> int:
    """The bytes of the bodies that are kept beside the flow's own."""
    kept = remarks.known(flow)
    found = [each for name in ("sent", "received") if isinstance(part := kept.get(name), list) for each in part]
    bodies = [each.get("body") for each in found if isinstance(each, dict)]
    return sum(len(body) for body in bodies if isinstance(body, bytes))
