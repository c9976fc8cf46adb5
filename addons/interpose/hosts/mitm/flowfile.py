"""Files that mitmproxy's tools save (`-w`, mitmweb's Save), as recorded calls: those of older versions, too.

Read flow by flow. One that cannot be read is told of and left out; where the file breaks off, what came before is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from math import isfinite
from typing import Any, BinaryIO, cast

from mitmproxy import flow as mitm_flow
from mitmproxy import http
from mitmproxy.io import compat, tnetstring
from mitmproxy.version import FLOW_FORMAT_VERSION

from interpose.call import Headers, Origin, Url, header
from interpose.ledger import Record
from interpose.recordings import Answered, Asked, Flaws, Recorded, Spoken
from interpose.stages.claim import is_address

from . import remarks
from .calls import CUT, canonical, one_cookie_header

# No flow is near this, and a broken length is not to reserve memory.
MOST = 1 << 30
ID = b"x-interpose-id"
_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int,), "float": (float, int)}
# What a flow may tell of its record: all but its place in a ledger.
_TOLD = {
    field.name: _KINDS[str(field.type).partition(" |")[0]]
    for field in fields(Record)
    if field.name not in ("writer", "seq", "prev_hash", "hash")
}


def read(file: BinaryIO, name: str, flaws: Flaws) -> Iterator[Recorded]:
    """The calls of a file of flows. `name` is what the file is called; what cannot be read goes to `flaws`."""
    bounded = _Bounded(file)
    number = strangers = 0
    while True:
        start = bounded.place
        try:
            state = tnetstring.load(cast(BinaryIO, bounded))
        except (ValueError, IndexError, TypeError) as error:
            if bounded.place > start:
                cut = "breaks off" if bounded.ended else "cannot be read any further"
                flows = f"{number} flow{'s' * (number != 1)}"
                why = "" if bounded.ended else f" ({_short(error)})"
                used = "; what came before is used" if number else ""
                flaws.add(f"{name}: {cut} after {flows}, at byte {start}{why}{used}")
            break
        number += 1
        try:
            call = recorded(_flow(state), f"{name}#{number}")
        except _Newer as newer:
            flaws.add(f"{name}: {newer}")
            continue
        except Exception as error:  # noqa: BLE001 - whatever a broken flow makes of mitmproxy's reader, the others can be read
            flaws.add(f"{name}: left out a flow that cannot be read: {_short(error)}", f"flow {number}")
            continue
        if call is None:
            strangers += 1
        else:
            yield call
    if strangers:
        flaws.add(f"{name}: {strangers} of {number} flows are no HTTP calls; left out")


class _Newer(Exception):
    """A flow of a version that the installed mitmproxy does not know yet."""


def _flow(state: Any) -> mitm_flow.Flow:
    if not isinstance(state, dict):
        raise ValueError("it is no flow")
    version = state.get("version")
    if isinstance(version, int) and version > FLOW_FORMAT_VERSION:
        raise _Newer(
            f"flows of a newer mitmproxy (format {version}, the installed one reads up to {FLOW_FORMAT_VERSION}); left "
            "out: save them as HAR there, or update mitmproxy here"
        )
    return mitm_flow.Flow.from_state(compat.migrate_flow(state))


class _Bounded:
    """The file, whose reads never ask for more than there can be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.place = 0
        self.ended = False

    def read(self, size: int) -> bytes:
        if size > MOST:
            raise ValueError(f"a length of {size} bytes")
        data = self._file.read(size)
        self.place += len(data)
        self.ended = len(data) < size
        return data


def recorded(flow: mitm_flow.Flow, place: str) -> Recorded | None:
    """The call that a flow is; None for what is none: TCP, UDP, DNS, a CONNECT."""
    if not isinstance(flow, http.HTTPFlow) or flow.request.method == "CONNECT":
        return None
    started = flow.request.timestamp_start or flow.timestamp_created
    answered = _answered(flow, started)
    named = header(answered.headers, ID) if answered is not None else None
    # What another tool has written may not know its client.
    client = flow.client_conn.peername or ("",)  # type: ignore[unreachable]  # mitmproxy says never
    websocket = flow.websocket
    record = _record(remarks.known(flow).get("record"))
    return Recorded(
        id=named.decode("latin-1") if named else flow.id,
        place=place,
        started_at=started,
        asked=_asked(flow),
        answered=answered,
        record=record,
        client=record.client if record is not None else None,
        app=record.app if record is not None else None,
        ip=client[0] or None,
        websocket=websocket is not None,
        spoken=tuple(
            Spoken(message.timestamp - started, message.from_client, message.is_text, message.content)
            for message in (websocket.messages if websocket is not None else ())
        ),
        error=flow.error.msg if flow.error is not None else None,
    )


def _record(told: object) -> Record | None:
    """The record of its call, which we save with a flow; None for what is none: a file may be anybody's."""
    if not isinstance(told, dict):
        return None
    known: dict[str, Any] = {}
    for name, kinds in _TOLD.items():
        value = told.get(name)
        if value is None:
            continue
        if type(value) not in kinds or (isinstance(value, float) and not isfinite(value)):
            return None
        known[name] = value
    try:
        return Record(**known)
    except TypeError:
        return None


def _asked(flow: http.HTTPFlow) -> Asked:
    request = flow.request
    headers: Headers = request.headers.fields
    if request.data.authority and header(headers, b"host") is None:
        headers = ((b"Host", request.data.authority), *headers)
    headers = one_cookie_header(headers)
    # A transparent proxy notes the address that was dialled.
    host = request.host
    if is_address(host):
        host = flow.client_conn.sni or request.pretty_host
    url = Url(Origin(request.scheme, canonical(host), request.port), request.path)
    kept = flow.metadata.get(CUT)
    size = _size(headers) if kept is not None and kept == len(request.raw_content or b"") else None
    return Asked(request.method, url, headers, request.raw_content, size)


def _size(headers: Headers) -> int:
    """Of a body of which not all was kept, as far as it is told."""
    told = header(headers, b"content-length")
    return int(told) if told is not None and told.isdigit() else 0


def _answered(flow: http.HTTPFlow, started: float) -> Answered | None:
    response = flow.response
    if response is None:
        return None
    began, ended = response.timestamp_start, response.timestamp_end
    return Answered(
        response.status_code,
        response.headers.fields,
        response.raw_content,
        response.reason or "",
        began=began - started if began else None,
        ended=ended - started if ended else None,
        error=flow.error.msg if flow.error is not None else None,
    )


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:100]}" if str(error) else type(error).__name__
